"""ParameterFilters: which there are, what they may ask for, and whether a parameter passes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compat.errors import AWSError

if TYPE_CHECKING:
    from compat.ssm.store import Parameter

Asked = Mapping[str, Any]
DESCRIBED = ("Path", "Name", "Type", "KeyId", "Tier")
"""Keys that DescribeParameters knows, beside tags."""
BELOW = ("Type", "KeyId", "Label")
"""Keys that GetParametersByPath knows."""
CHOICES = {
    "Type": ("String", "StringList", "SecureString"),
    "Tier": ("Standard", "Advanced", "Intelligent-Tiering"),
}
_PATH = re.compile(r"(?:/[\w.-]+)+|/")


def check(asked: Sequence[Asked], known: Collection[str], *, tags: bool) -> None:
    """Refuse filters that the operation does not know, and what they cannot ask for, in AWS's words."""
    seen: set[str] = set()
    for one in asked:
        key, values = one["Key"], list(one.get("Values") or ())
        if tags and key.startswith("tag:"):
            _check_option(one.get("Option"), ("Equals", "BeginsWith"))
            continue
        if key not in known:
            raise AWSError(
                "InvalidFilterKey",
                f"The following filter key is not valid: {key}. Valid filter keys include: [{', '.join(known)}]",
            )
        if not values:
            raise AWSError("InvalidFilterValue", f"The following filter values are missing : null for filter key {key}")
        if key in seen:
            raise AWSError(
                "InvalidFilterKey",
                f"The following filter is duplicated in the request: {key}. A request can contain only one occurrence "
                "of a specific filter.",
            )
        seen.add(key)
        _check_values(key, values, one.get("Option"))


def _check_option(option: str | None, known: Sequence[str], end: str = "") -> None:
    if option is not None and option not in known:
        raise AWSError(
            "InvalidFilterOption",
            f"The following filter option is not valid: {option}. Valid options include: [{', '.join(known)}]{end}",
        )


def _check_values(key: str, values: Sequence[str], option: str | None) -> None:
    if key == "Path":
        if any(re.match(r"/?(aws|ssm)", value, re.IGNORECASE) for value in values):
            raise AWSError(
                "ValidationException",
                'Filters for common parameters can\'t be prefixed with "aws" or "ssm" (case-insensitive).',
            )
        _check_option(option, ("Recursive", "OneLevel"))
        if not all(_PATH.fullmatch(value.rstrip("/") or "/") for value in values):
            raise AWSError(
                "ValidationException",
                "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a "
                'forward slash "/".',
            )
    elif option != "Contains" or key != "Name":
        _check_option(option, ("BeginsWith", "Equals"), ".")
    strange = next((value for value in values if key in CHOICES and value not in CHOICES[key]), None)
    if strange is not None:
        raise AWSError(
            "InvalidFilterValue",
            f"The following filter value is not valid: {strange}. Valid values include: [{', '.join(CHOICES[key])}]",
        )


def passes(row: Parameter, one: Asked) -> bool:
    """Whether a parameter passes one filter that was checked; one by label is for whoever chooses the version."""
    key, option, values = one["Key"], one.get("Option") or "Equals", list(one.get("Values") or ())
    if key == "Label":
        return True
    if key.startswith("tag:"):
        held = row.tags.get(key[4:])
        return held is not None and (not values or any(_TESTS[option](held, value) for value in values))
    if key == "Path":
        below = [row.name[len(value.rstrip("/")) + 1 :] for value in values if row.name.startswith(_folder(value))]
        return any(option == "Recursive" or "/" not in rest for rest in below)
    if key == "Name":
        plain = row.name.lstrip("/")
        return any(_TESTS[option](plain, value if option == "Contains" else value.lstrip("/")) for value in values)
    return any(_TESTS[option](str(row.newest.get(key) or ""), value) for value in values)


def _folder(path: str) -> str:
    return path.rstrip("/") + "/"


_TESTS: dict[str, Callable[[str, str], bool]] = {
    "Equals": lambda text, value: text == value,
    "BeginsWith": lambda text, value: text.startswith(value),
    "Contains": lambda text, value: value in text,
}
