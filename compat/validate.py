"""Shape facts, checked before any meaning: required members, lengths, ranges, patterns and enumerations.

Checks are compiled once per operation and visit only what a call carries. Each service has its own code and wording;
query and JSON services report every violation at once, EC2 and S3 the first. What AWS judges by meaning is left to
handlers: `_LENIENT_ENUMS`, every enumeration of S3, and lengths in S3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from compat.errors import AWSError
from compat.model import SERVICES, operation_model
from compat.patterns import compiled

Check = Callable[[Any, str, "list[Violation]"], None]
Validator = Callable[[Mapping[str, Any]], None]

_CODES = {
    "query": "ValidationError",
    "json": "ValidationException",
    "rest-json": "ValidationException",
    "logs": "InvalidParameterException",
    "resourcegroupstaggingapi": "InvalidParameterException",
    "cloudwatch": "ValidationError",
}
_LENIENT_ENUMS = {
    # New instance types appear every week, volume types have an error code of their own, and of the attributes of an
    # account the model knows two of six.
    "ec2": {"AccountAttributeName", "InstanceType", "VolumeType", "ResourceType", "FleetOnDemandAllocationStrategy"},
}
_NOT_REQUIRED = frozenset(
    {("Tagging", "TagSet"), ("ServerSideEncryptionConfiguration", "Rules"), ("PutBucketPolicyRequest", "Policy")}
)
"""Members that the model wants, and S3 does without or refuses in words of its own."""
_NUMBERS = frozenset({"integer", "long", "float", "double"})
_MOST_REPORTED = 20


class Violation(NamedTuple):
    """A fact about a value that breaks its shape. `path` is in AWS's notation, `value` is None where it is missing."""

    path: str
    value: Any
    constraint: str
    sensitive: bool
    shape: Shape


@cache
def validator(service: str, operation: str) -> Validator:
    """The check of an operation's parameters. It raises AWSError; outside the model nothing is checked."""
    model = operation_model(service, operation)
    if model is None or model.input_shape is None:
        return _accept
    check = _Compiler(service).structure(model.input_shape, top=True)
    if check is None:
        return _accept
    report = _reporter(service, model)

    def validate(params: Mapping[str, Any]) -> None:
        found: list[Violation] = []
        check(params, "", found)
        if found:
            raise report(found)

    return validate


def _accept(_: Mapping[str, Any]) -> None:
    return None


class _Compiler:
    """Makes the checks of one operation's shapes. `ec2` paths use the names of the form, others lower camel case."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.protocol = SERVICES[service].protocol
        self.form = self.protocol == "ec2"
        self.strict = self.protocol != "rest-xml"
        self.lenient: set[str] = _LENIENT_ENUMS.get(service, set())
        self.known: dict[str, Check | None] = {}
        self.open: dict[str, list[Check | None]] = {}

    def check(self, shape: Shape) -> Check | None:
        if isinstance(shape, StructureShape):
            return None if shape.is_document_type else self.structure(shape)
        if isinstance(shape, ListShape):
            return self.sequence(shape)
        if isinstance(shape, MapShape):
            return self.mapping(shape)
        return self.scalar(shape)

    def structure(self, shape: StructureShape, top: bool = False) -> Check | None:
        if shape.name in self.known:
            return self.known[shape.name]
        if shape.name in self.open:  # a shape that contains itself: resolved when the outer one is ready
            cell = self.open[shape.name]

            def later(value: Any, path: str, found: list[Violation]) -> None:
                if cell[0] is not None:
                    cell[0](value, path, found)

            return later
        cell = self.open[shape.name] = [None]
        required = [(name, self._label(shape.members[name], name), shape.members[name]) for name in _required(shape)]
        checks: dict[str, tuple[str, Check]] = {}
        for name, member in shape.members.items():
            made = self.check(member)
            if made is not None:
                checks[name] = (self._label(member, name), made)
        del self.open[shape.name]
        made = cell[0] = _structure_check(required, checks) if required or checks else None
        self.known[shape.name] = made
        return made

    def _label(self, member: Shape, name: str) -> str:
        if self.form:
            return form_name(member, name)
        return name[:1].lower() + name[1:]

    def sequence(self, shape: ListShape) -> Check | None:
        inner = self.check(shape.member)
        size = self._length(shape)
        suffix = "" if self.form else ".member"
        if inner is None and size is None:
            return None

        def check(value: Any, path: str, found: list[Violation]) -> None:
            if size is not None:
                size(value, path, found)
            if inner is not None:
                for number, element in enumerate(value, 1):
                    inner(element, f"{path}.{number}{suffix}", found)

        return check

    def mapping(self, shape: MapShape) -> Check | None:
        keys, values, size = self.check(shape.key), self.check(shape.value), self._length(shape)
        if keys is None and values is None and size is None:
            return None

        def check(value: Any, path: str, found: list[Violation]) -> None:
            if size is not None:
                size(value, path, found)
            for key, element in value.items():
                if keys is not None:
                    keys(key, path, found)
                if values is not None and element is not None:
                    values(element, f"{path}.{key}.member", found)

        return check

    def _length(self, shape: Shape) -> Check | None:
        least, most = shape.metadata.get("min"), shape.metadata.get("max")
        if not self.strict or (least is None and most is None):
            return None
        low, high = int(least or 0), int(most) if most is not None else None
        if self.form and isinstance(shape, ListShape):
            low = 0  # an empty list is no list in a form
        sensitive = bool(shape.metadata.get("sensitive"))

        def check(value: Any, path: str, found: list[Violation]) -> None:
            size = len(value)
            if size < low:
                text = f"Member must have length greater than or equal to {low}"
            elif high is not None and size > high:
                text = f"Member must have length less than or equal to {high}"
            else:
                return
            found.append(Violation(path, value, text, sensitive, shape))

        return check

    def scalar(self, shape: Shape) -> Check | None:
        if shape.type_name in _NUMBERS:
            return self._range(shape)
        if shape.type_name == "blob":
            return None if shape.serialization.get("streaming") else self._length(shape)
        if shape.type_name != "string" or not self.strict:
            return None
        size, choice = self._length(shape), self._enum(shape)
        pattern = shape.metadata.get("pattern")
        matches = _matcher(pattern) if pattern and choice is None else None
        checks = [check for check in (size, choice) if check is not None]
        if matches is None and len(checks) < 2:
            return checks[0] if checks else None
        sensitive = bool(shape.metadata.get("sensitive"))

        def check(value: Any, path: str, found: list[Violation]) -> None:
            before = len(found)
            for each in checks:
                each(value, path, found)
            # The pattern is tried only on values of a fair length, so that no input can make it run long.
            if matches is not None and len(found) == before and matches(value) is None:
                text = f"Member must satisfy regular expression pattern: {pattern}"
                found.append(Violation(path, value, text, sensitive, shape))

        return check

    def _enum(self, shape: Shape) -> Check | None:
        choices = shape.metadata.get("enum")
        if not choices or shape.name in self.lenient:
            return None
        allowed = frozenset(choices)
        text = f"Member must satisfy enum value set: [{', '.join(choices)}]"
        blank = self.form  # an empty field of a form is no choice at all
        sensitive = bool(shape.metadata.get("sensitive"))

        def check(value: Any, path: str, found: list[Violation]) -> None:
            if value not in allowed and (value or not blank):
                found.append(Violation(path, value, text, sensitive, shape))

        return check

    def _range(self, shape: Shape) -> Check | None:
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        if not self.strict or (low is None and high is None):
            return None

        def check(value: Any, path: str, found: list[Violation]) -> None:
            if low is not None and value < low:
                text = f"Member must have value greater than or equal to {low}"
            elif high is not None and value > high:
                text = f"Member must have value less than or equal to {high}"
            else:
                return
            found.append(Violation(path, value, text, False, shape))

        return check


def _matcher(pattern: str) -> Callable[[str], object] | None:
    """A pattern with an anchor says itself where it starts and ends; one without means the whole text."""
    expression = compiled(pattern)
    if expression is None:
        return None
    return expression.search if pattern.startswith("^") else expression.fullmatch


def _required(shape: StructureShape) -> list[str]:
    """The members that must be there; a payload that streams comes by another way (`Context.body`)."""
    members = shape.members
    return [
        name
        for name in shape.required_members
        if name in members
        and not members[name].serialization.get("streaming")
        and (shape.name, name) not in _NOT_REQUIRED
    ]


def _structure_check(required: list[tuple[str, str, Shape]], checks: dict[str, tuple[str, Check]]) -> Check:
    find = checks.get

    def check(value: Any, path: str, found: list[Violation]) -> None:
        start = path + "." if path else ""
        for name, label, shape in required:
            if value.get(name) is None:
                found.append(Violation(start + label, None, "Member must not be null", False, shape))
        for name, element in value.items():
            entry = find(name)
            if entry is not None and element is not None:
                entry[1](element, start + entry[0], found)

    return check


def form_name(member: Shape, name: str) -> str:
    """The name of a member in an EC2 form: its `queryName`, else its capitalised wire name."""
    chosen = str(member.serialization.get("queryName") or member.serialization.get("name") or name)
    return chosen[:1].upper() + chosen[1:] if "queryName" not in member.serialization else chosen


def _reporter(service: str, model: OperationModel) -> Callable[[list[Violation]], AWSError]:
    protocol = SERVICES[service].protocol
    if protocol == "ec2":
        return _report_ec2
    if protocol == "rest-xml":
        payload = model.input_shape.serialization.get("payload") if model.input_shape is not None else None
        name = str(payload)
        return lambda found: _report_s3(found, name[:1].lower() + name[1:])
    code = _CODES.get(service) or _CODES[protocol]
    return lambda found: AWSError(code, constraint_message(found), 400)


def constraint_message(found: list[Violation]) -> str:
    """The sentence in which query and JSON services list what is wrong."""
    number = len(found)
    told = "; ".join(_describe(each) for each in found[:_MOST_REPORTED])
    return f"{number} validation error{'s' if number > 1 else ''} detected: {told}"


def _describe(violation: Violation) -> str:
    if violation.sensitive:
        value = "Value"
    elif violation.value is None:
        value = "Value null"
    else:
        value = f"Value '{_shown(violation.value)}'"
    return f"{value} at '{violation.path}' failed to satisfy constraint: {violation.constraint}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_shown(element) for element in value) + "]"
    if isinstance(value, (dict, bytes)):
        return type(value).__name__ if isinstance(value, bytes) else "{" + ", ".join(map(str, value)) + "}"
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def _report_ec2(found: list[Violation]) -> AWSError:
    first = found[0]
    if first.value is None:
        return AWSError("MissingParameter", f"The request must contain the parameter {first.path}", 400)
    shown, name = _shown(first.value), first.path[:1].lower() + first.path[1:]
    least, most = first.shape.metadata.get("min"), first.shape.metadata.get("max")
    if first.shape.type_name in _NUMBERS:
        bound = f"greater than {least}" if least is not None and first.value < least else f"less than {most}"
        text = f"Value ( {shown} ) for parameter {name} is invalid. Expecting a value {bound}."
    else:
        text = f"Value ({shown}) for parameter {name} is invalid."
    return AWSError("InvalidParameterValue", text, 400)


def _report_s3(found: list[Violation], payload: str) -> AWSError:
    first = found[0]
    if first.path == payload:
        return AWSError("MissingRequestBodyError", "Request Body is empty", 400)
    if "." in first.path or "location" not in first.shape.serialization:
        return AWSError(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
            400,
        )
    name = str(first.shape.serialization.get("name", first.path))
    if name == "x-amz-object-attributes":
        text = f"The {name} header specifying the attributes to be retrieved is either missing or empty"
        return AWSError("InvalidRequest", text, 400)
    return AWSError("InvalidArgument", f"Missing required argument: {name}", 400, ArgumentName=name)
