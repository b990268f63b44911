"""Parameter Store: the caller's own parameters, and the public ones that name images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select

from compat.context import Context
from compat.ec2.catalogue import parameters as public_parameters
from compat.ec2.listing import cut
from compat.errors import AWSError
from compat.filters import as_texts
from compat.operation import Params, Result, operation
from compat.ssm import parameter_filters as filters
from compat.ssm.store import (
    PUBLIC,
    Parameter,
    Version,
    find,
    missing,
    parameter_arn,
    plain_name,
    public_parameter,
    sealed,
    select_version,
    value_of,
)
from compat.tags import check_tags

MOST_VERSIONS, MOST_LABELS = 100, 10
DATA_TYPES = ("text", "aws:ec2:image", "aws:ssm:integration")
LIMITS = {"Standard": 4096, "Advanced": 8192}
NAME = re.compile(r"/?[a-zA-Z0-9_.-]+(?:/[a-zA-Z0-9_.-]+)*")


def _named(ctx: Context, p: Params) -> Iterable[str]:
    names = [p["Name"]] if "Name" in p else p.get("Names") or ()
    return [parameter_arn(ctx, plain_name(name)[0]) for name in names]


def _check_name(name: str) -> None:
    if re.match(r"/?(aws|ssm)", name, re.IGNORECASE):
        raise AWSError("ValidationException", f"No access to reserved parameter name: {name}.")
    if not NAME.fullmatch(name):
        raise AWSError(
            "ValidationException",
            'Parameter name: can\'t be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of '
            "sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the "
            "following 3 symbols .-_",
        )
    if name.count("/") > 15 or ("/" in name and not name.startswith("/")):
        raise AWSError("ValidationException", "Parameter name must be a fully qualified name.")


@operation("ssm:PutParameter", on=_named)
def put_parameter(ctx: Context, p: Params) -> Result:
    """Keep a parameter, or give it a new version."""
    name = p["Name"]
    _check_name(name)
    row = find(ctx, name)
    if row is not None and not p.get("Overwrite"):
        raise AWSError(
            "ParameterAlreadyExists",
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
        )
    if row is not None and p.get("Tags"):
        raise AWSError(
            "ValidationException",
            "Invalid request: tags and overwrite can't be used together. To create tags, use AddTagsToResource.",
        )
    before = row.newest if row is not None else {}
    kind = p.get("Type") or before.get("Type")
    if kind is None:
        raise AWSError("ValidationException", "A parameter type is required when you create a parameter.")
    if not p["Value"]:
        raise AWSError(
            "ValidationException",
            "1 validation error detected: Value '' at 'value' failed to satisfy constraint: Member must have length "
            "greater than or equal to 1.",
        )
    if p.get("DataType") not in (None, *DATA_TYPES):
        raise AWSError(
            "ValidationException",
            f"The following data type is not supported: {p['DataType']} (Data type names are all lowercase.)",
        )
    value, tier = p["Value"], p.get("Tier") or before.get("Tier") or "Standard"
    if tier == "Intelligent-Tiering":
        tier = "Standard" if len(value.encode()) <= LIMITS["Standard"] else "Advanced"
    if len(value.encode()) > LIMITS[tier]:
        raise AWSError(
            "ValidationException",
            f"{tier} tier parameters support a maximum parameter value of {LIMITS[tier]} characters.",
        )
    pattern = p.get("AllowedPattern")
    if pattern and re.fullmatch(pattern, value) is None:
        raise AWSError(
            "ParameterPatternMismatchException",
            f"Parameter value, cannot be validated against allowedPattern: {pattern}",
        )
    version = {
        "Version": before.get("Version", 0) + 1,
        "Value": sealed(ctx, value) if kind == "SecureString" else value,
        "Type": kind,
        "LastModifiedDate": as_texts(ctx.now)[0],
        "LastModifiedUser": ctx.principal.arn,
        "Tier": tier,
        "DataType": p.get("DataType") or before.get("DataType") or "text",
        "Labels": [],
    }
    if kind == "SecureString":
        version["KeyId"] = p.get("KeyId") or before.get("KeyId") or "alias/aws/ssm"
    for member in ("Description", "AllowedPattern"):
        if (kept := p.get(member) or before.get(member)) is not None:
            version[member] = kept
    if row is None:
        tags = p.get("Tags") or ()
        check_tags(tags)
        ctx.session.add(Parameter(name=name, versions=[version], tags={tag["Key"]: tag["Value"] for tag in tags}))
    else:
        oldest = row.versions[0]
        if len(row.versions) >= MOST_VERSIONS and oldest.get("Labels"):
            raise AWSError(
                "ParameterMaxVersionLimitExceeded",
                f"You attempted to create a new version of {name} by calling the PutParameter API with the overwrite "
                f"flag. Version {oldest['Version']}, the oldest version, can't be deleted because it has a label "
                "associated with it. Move the label to another version of the parameter, and try again.",
            )
        row.versions = [*row.versions, version][-MOST_VERSIONS:]
    return {"Version": version["Version"], "Tier": tier}


def _render(ctx: Context, row: Parameter, version: Mapping[str, Any], decrypt: bool) -> dict[str, Any]:
    return {
        "Name": row.name,
        "Type": version["Type"],
        "Value": value_of(ctx, dict(version), decrypt),
        "Version": version["Version"],
        "LastModifiedDate": datetime.fromisoformat(version["LastModifiedDate"]),
        "ARN": parameter_arn(ctx, row.name),
        "DataType": version["DataType"],
    }


def _look_up(ctx: Context, asked: str, decrypt: bool) -> dict[str, Any]:
    name, selector = plain_name(asked)
    if not name.startswith(PUBLIC) and asked.startswith("arn:") and find(ctx, name) is None:
        name = "/" + name
    if name.startswith(PUBLIC):
        public = public_parameter(ctx, name)
        if public is None:
            raise missing(asked)
        return public
    row = find(ctx, name)
    if row is None:
        raise missing(asked)
    found = _render(ctx, row, select_version(row, selector), decrypt)
    return found if selector is None else found | {"Selector": f":{selector}"}


@operation("ssm:GetParameter", on=_named)
def get_parameter(ctx: Context, p: Params) -> Result:
    """One parameter."""
    return {"Parameter": _look_up(ctx, p["Name"], bool(p.get("WithDecryption")))}


@operation("ssm:GetParameters", on=_named)
def get_parameters(ctx: Context, p: Params) -> Result:
    """Several parameters, and the names of those that do not exist."""
    found, invalid = [], []
    for name in dict.fromkeys(p["Names"]):
        try:
            found.append(_look_up(ctx, name, bool(p.get("WithDecryption"))))
        except AWSError:
            invalid.append(name)
    return {"Parameters": found, "InvalidParameters": invalid}


@operation("ssm:GetParametersByPath", on=lambda ctx, p: [parameter_arn(ctx, p["Path"].rstrip("/"))])
def get_parameters_by_path(ctx: Context, p: Params) -> Result:
    """The parameters below a path; those right below it, unless the call asks for all."""
    path = p["Path"].rstrip("/") + "/"
    if not path.startswith("/"):
        raise AWSError(
            "ValidationException",
            "The parameter doesn't meet the parameter name requirements: it must begin with a slash.",
        )

    def below(name: str) -> bool:
        return name.startswith(path) and (bool(p.get("Recursive")) or "/" not in name[len(path) :])

    decrypt, asked = bool(p.get("WithDecryption")), p.get("ParameterFilters") or ()
    filters.check(asked, filters.BELOW, tags=False)
    rows: list[dict[str, Any]]
    if path.startswith(PUBLIC):
        rows = [one for name in public_parameters(ctx.region) if below(name) and (one := public_parameter(ctx, name))]
    else:
        kept = ctx.session.scalars(select(Parameter).where(Parameter.name.startswith(path, autoescape=True)))
        rows = [
            _render(ctx, row, version, decrypt)
            for row in kept
            if below(row.name)
            and all(filters.passes(row, one) for one in asked)
            and (version := _labelled(row, p)) is not None
        ]
    shown, token = cut(ctx, p, rows, lambda one: str(one["Name"]), most=10)
    result: Result = {"Parameters": shown}
    return result if token is None else result | {"NextToken": token}


def _labelled(row: Parameter, p: Params) -> Version | None:
    """The version that a call's filter by labels wants; the newest where it has none."""
    wanted = [value for one in p.get("ParameterFilters") or () if one["Key"] == "Label" for value in one["Values"]]
    if not wanted:
        return row.newest
    return next((one for one in reversed(row.versions) if set(wanted) & set(one.get("Labels", ()))), None)


@operation("ssm:DescribeParameters")
def describe_parameters(ctx: Context, p: Params) -> Result:
    """What is known of the caller's parameters, without their values."""
    asked = p.get("ParameterFilters") or ()
    filters.check(asked, filters.DESCRIBED, tags=True)
    old = [{"Key": one["Key"], "Values": one["Values"], "Option": "BeginsWith"} for one in p.get("Filters") or ()]
    members = ("Type", "KeyId", "LastModifiedUser", "Description", "AllowedPattern", "Version", "Tier", "DataType")
    rows = []
    for row in ctx.session.scalars(select(Parameter)):
        if not all(filters.passes(row, one) for one in [*old, *asked]):
            continue
        newest = row.newest
        about = {member: newest[member] for member in members if newest.get(member) is not None}
        about |= {"Name": row.name, "ARN": parameter_arn(ctx, row.name), "Policies": []}
        about["LastModifiedDate"] = datetime.fromisoformat(newest["LastModifiedDate"])
        rows.append(about)
    shown, token = cut(ctx, p, rows, lambda one: str(one["Name"]), most=10)
    result: Result = {"Parameters": shown}
    return result if token is None else result | {"NextToken": token}


@operation("ssm:GetParameterHistory", on=_named)
def get_parameter_history(ctx: Context, p: Params) -> Result:
    """Every version of a parameter."""
    row = find(ctx, plain_name(p["Name"])[0])
    if row is None:
        raise missing(p["Name"])
    versions = [
        {
            **version,
            "Name": row.name,
            "Value": value_of(ctx, version, bool(p.get("WithDecryption"))),
            "LastModifiedDate": datetime.fromisoformat(version["LastModifiedDate"]),
        }
        for version in row.versions
    ]
    shown, token = cut(ctx, p, versions, lambda one: f"{one['Version']:010}", most=50)
    result: Result = {"Parameters": shown}
    return result if token is None else result | {"NextToken": token}


@operation("ssm:LabelParameterVersion", on=_named)
def label_parameter_version(ctx: Context, p: Params) -> Result:
    """Put labels on a version; each label stands on one version."""
    row = find(ctx, p["Name"])
    if row is None:
        raise missing(p["Name"])
    number = p.get("ParameterVersion") or row.newest["Version"]
    select_version(row, str(number))
    labels = [label for label in p["Labels"] if re.fullmatch(r"(?!aws|ssm)[A-Za-z_.-][\w.-]{0,99}", label)]
    held = next(version for version in row.versions if version["Version"] == number).get("Labels", ())
    if len({*held, *labels}) > MOST_LABELS:
        raise AWSError(
            "ParameterVersionLabelLimitExceeded",
            f"A parameter version can have maximum {MOST_LABELS} labels.Move one or more labels to another version and "
            "try again.",
        )
    changed = []
    for version in row.versions:
        kept = [label for label in version.get("Labels", ()) if label not in labels]
        changed.append({**version, "Labels": kept + labels if version["Version"] == number else kept})
    row.versions = changed
    return {"InvalidLabels": [label for label in p["Labels"] if label not in labels], "ParameterVersion": number}


@operation("ssm:UnlabelParameterVersion", on=_named)
def unlabel_parameter_version(ctx: Context, p: Params) -> Result:
    """Take labels from a version; those that it does not have are told."""
    row = find(ctx, p["Name"])
    if row is None:
        raise missing(p["Name"])
    held = select_version(row, str(p["ParameterVersion"])).get("Labels", ())
    row.versions = [
        {**version, "Labels": [label for label in version.get("Labels", ()) if label not in p["Labels"]]}
        if version["Version"] == p["ParameterVersion"]
        else version
        for version in row.versions
    ]
    return {
        "RemovedLabels": [label for label in p["Labels"] if label in held],
        "InvalidLabels": [label for label in p["Labels"] if label not in held],
    }


@operation("ssm:DeleteParameter", on=_named)
def delete_parameter(ctx: Context, p: Params) -> Result:
    """Forget a parameter."""
    row = find(ctx, plain_name(p["Name"])[0])
    if row is None:
        raise missing(p["Name"])
    ctx.session.delete(row)
    return {}


@operation("ssm:DeleteParameters", on=_named)
def delete_parameters(ctx: Context, p: Params) -> Result:
    """Forget several parameters."""
    gone, invalid = [], []
    for name in p["Names"]:
        row = find(ctx, plain_name(name)[0])
        if row is None:
            invalid.append(name)
        else:
            ctx.session.delete(row)
            gone.append(name)
    return {"DeletedParameters": gone, "InvalidParameters": invalid}


def _tagged(ctx: Context, p: Params) -> list[str]:
    return [parameter_arn(ctx, p["ResourceId"])]


def _resource(ctx: Context, p: Params) -> Parameter:
    if p["ResourceType"] != "Parameter":
        raise AWSError("InvalidResourceType", "The resource type is not valid. Nephele keeps parameters only.")
    row = find(ctx, p["ResourceId"])
    if row is None:
        raise AWSError("InvalidResourceId", f"The resource ID is not valid: {p['ResourceId']}.")
    return row


@operation("ssm:AddTagsToResource", on=_tagged)
def add_tags_to_resource(ctx: Context, p: Params) -> Result:
    """Tag a parameter."""
    row = _resource(ctx, p)
    tags = row.tags | {tag["Key"]: tag["Value"] for tag in p["Tags"]}
    check_tags([{"Key": key, "Value": value} for key, value in tags.items()])
    row.tags = tags
    return {}


@operation("ssm:RemoveTagsFromResource", on=_tagged)
def remove_tags_from_resource(ctx: Context, p: Params) -> Result:
    """Take tags from a parameter."""
    row = _resource(ctx, p)
    row.tags = {key: value for key, value in row.tags.items() if key not in p["TagKeys"]}
    return {}


@operation("ssm:ListTagsForResource", on=_tagged)
def list_tags_for_resource(ctx: Context, p: Params) -> Result:
    """The tags of a parameter."""
    return {"TagList": [{"Key": key, "Value": value} for key, value in sorted(_resource(ctx, p).tags.items())]}
