"""Condition operators, compiled once to tests over a request.

An operator without `ForAnyValue:`/`ForAllValues:` on a key with several values holds when one of them matches (for a
negated operator: when none does). An absent key satisfies negated operators, `…IfExists` and `ForAllValues:`.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from compat.iam.policy.patterns import Literal, Matcher, Variable, any_of, arn_matcher, text_matcher, tokens
from compat.iam.policy.request import AccessRequest

Test = Callable[[AccessRequest], bool]
Build = Callable[[Sequence[str], bool], Matcher]
"""From a clause's values, and whether variables are to be resolved, to the test of one context value."""


def _equal(values: Sequence[str], variables: bool) -> Matcher:
    parts = [tokens(value, wild=False, variables=variables) for value in values]
    if any(isinstance(token, Variable) for value in parts for token in value):
        return any_of([text_matcher(value, wild=False, variables=True) for value in values])
    plain = frozenset("".join(token.text for token in value if isinstance(token, Literal)) for value in parts)
    return lambda text, request: text in plain


def _equal_ignoring_case(values: Sequence[str], variables: bool) -> Matcher:
    return any_of([text_matcher(v, wild=False, variables=variables, ignore_case=True) for v in values])


def _like(values: Sequence[str], variables: bool) -> Matcher:
    return any_of([text_matcher(value, wild=True, variables=variables) for value in values])


def _arn(values: Sequence[str], variables: bool) -> Matcher:
    return any_of([arn_matcher(value, variables=variables) for value in values])


def parse_number(text: str) -> Decimal | None:
    """The number that `text` writes, or None."""
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def parse_date(text: str) -> datetime | None:
    """The moment that `text` writes: ISO 8601 (date only, or with a time; UTC unless it says otherwise) or an epoch."""
    text = text.strip()
    try:
        if text.lstrip("-").replace(".", "", 1).isdigit() and len(text) > 4:
            return datetime.fromtimestamp(float(text), UTC)
        if len(text) == 4 and text.isdigit():
            return datetime(int(text), 1, 1, tzinfo=UTC)
        if len(text) == 7 and text[4] == "-":
            text += "-01"
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def parse_bytes(text: str) -> bytes | None:
    """The bytes that base64 `text` writes, or None."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The address range that `text` writes (an address alone is a range of one), or None."""
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return None


def _number(compare: Callable[[Decimal, Decimal], bool]) -> Build:
    def build(values: Sequence[str], variables: bool) -> Matcher:
        wanted = [number for value in values if (number := parse_number(value)) is not None]

        def match(text: str, request: AccessRequest) -> bool:
            number = parse_number(text)
            return number is not None and any(compare(number, other) for other in wanted)

        return match

    return build


def _date(compare: Callable[[datetime, datetime], bool]) -> Build:
    def build(values: Sequence[str], variables: bool) -> Matcher:
        wanted = [moment for value in values if (moment := parse_date(value)) is not None]

        def match(text: str, request: AccessRequest) -> bool:
            moment = parse_date(text)
            return moment is not None and any(compare(moment, other) for other in wanted)

        return match

    return build


def _bool(values: Sequence[str], variables: bool) -> Matcher:
    wanted = frozenset(value.lower() for value in values)
    return lambda text, request: text.lower() in wanted


def _binary(values: Sequence[str], variables: bool) -> Matcher:
    wanted = frozenset(data for value in values if (data := parse_bytes(value)) is not None)
    return lambda text, request: parse_bytes(text) in wanted


def _address(values: Sequence[str], variables: bool) -> Matcher:
    networks = [network for value in values if (network := parse_network(value)) is not None]

    def match(text: str, request: AccessRequest) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in networks)

    return match


OPERATORS: dict[str, tuple[Build, bool]] = {
    "stringequals": (_equal, False),
    "stringnotequals": (_equal, True),
    "stringequalsignorecase": (_equal_ignoring_case, False),
    "stringnotequalsignorecase": (_equal_ignoring_case, True),
    "stringlike": (_like, False),
    "stringnotlike": (_like, True),
    "numericequals": (_number(lambda a, b: a == b), False),
    "numericnotequals": (_number(lambda a, b: a == b), True),
    "numericlessthan": (_number(lambda a, b: a < b), False),
    "numericlessthanequals": (_number(lambda a, b: a <= b), False),
    "numericgreaterthan": (_number(lambda a, b: a > b), False),
    "numericgreaterthanequals": (_number(lambda a, b: a >= b), False),
    "dateequals": (_date(lambda a, b: a == b), False),
    "datenotequals": (_date(lambda a, b: a == b), True),
    "datelessthan": (_date(lambda a, b: a < b), False),
    "datelessthanequals": (_date(lambda a, b: a <= b), False),
    "dategreaterthan": (_date(lambda a, b: a > b), False),
    "dategreaterthanequals": (_date(lambda a, b: a >= b), False),
    "bool": (_bool, False),
    "binaryequals": (_binary, False),
    "ipaddress": (_address, False),
    "notipaddress": (_address, True),
    "arnequals": (_arn, False),
    "arnlike": (_arn, False),
    "arnnotequals": (_arn, True),
    "arnnotlike": (_arn, True),
}
"""Operator in lower case -> how to build the test of one value, and whether the operator is negated."""


def known_operator(operator: str) -> bool:
    """Whether the language has `operator`, with its prefix and suffix."""
    name = operator.lower()
    if name == "null":
        return True
    for prefix in ("foranyvalue:", "forallvalues:"):
        if name.startswith(prefix):
            name = name[len(prefix) :]
            break
    return name in OPERATORS or name.endswith("ifexists") and name[:-8] in OPERATORS


def compile_clause(operator: str, key: str, values: Sequence[str], *, variables: bool) -> Test:
    """The test that `operator: {key: values}` stands for. `variables` says whether `${…}` is to be resolved.

    An operator that the language does not have never holds: documents with such are refused when they are made.
    """
    if not known_operator(operator):
        return lambda request: False
    name, key = operator.lower(), key.lower()
    if name == "null":
        absent = frozenset(value.lower() for value in values)
        return lambda request: ("false" if request.context(key) else "true") in absent
    every = name.startswith("forallvalues:")
    some = name.startswith("foranyvalue:")
    name = name.partition(":")[2] if every or some else name
    if_exists = name not in OPERATORS and name.endswith("ifexists")
    build, negated = OPERATORS[name[:-8] if if_exists else name]
    match = build(values, variables)
    if every:
        return _for_all(key, match, negated)
    if some:
        return _for_any(key, match, negated, if_exists)
    return _single(key, match, negated, if_exists)


def _single(key: str, match: Matcher, negated: bool, if_exists: bool) -> Test:
    when_absent = negated or if_exists

    def test(request: AccessRequest) -> bool:
        value = request.context(key)
        if value is None:
            return when_absent
        if isinstance(value, str):
            return match(value, request) is not negated
        return any(match(one, request) for one in value) is not negated

    return test


def _for_any(key: str, match: Matcher, negated: bool, if_exists: bool) -> Test:
    def test(request: AccessRequest) -> bool:
        value = request.context(key)
        if value is None:
            return if_exists
        several = (value,) if isinstance(value, str) else value
        return any(match(one, request) is not negated for one in several)

    return test


def _for_all(key: str, match: Matcher, negated: bool) -> Test:
    def test(request: AccessRequest) -> bool:
        value = request.context(key)
        if value is None:
            return True
        several = (value,) if isinstance(value, str) else value
        return all(match(one, request) is not negated for one in several)

    return test
