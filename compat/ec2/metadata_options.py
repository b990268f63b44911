"""What a call may say of an instance's metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from compat.context import Context
from compat.ec2.settings import METADATA, read_setting
from compat.errors import AWSError

MOST_HOPS = 64
TAG_KEY = re.compile(r"[0-9a-zA-Z\-_+=,.@:]{1,255}")
RESERVED = (".", "..", "_index")


def launch_options(ctx: Context, spec: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a new instance: the call's, else the account's, else the image's. `image`: its notes."""
    modern = image.get("ImdsSupport") == "v2.0"
    options: dict[str, Any] = {
        "State": "applied",
        "HttpTokens": "required" if modern else "optional",
        "HttpPutResponseHopLimit": 2 if modern else 1,
        "HttpEndpoint": "enabled",
        "HttpProtocolIpv6": "disabled",
        "InstanceMetadataTags": "disabled",
    }
    options |= read_setting(ctx, METADATA, {})
    options |= {name: value for name, value in (spec.get("MetadataOptions") or {}).items() if value is not None}
    check_options(options)
    given = [one for one in spec.get("TagSpecifications") or () if one.get("ResourceType") == "instance"]
    check_tag_keys(options, (tag.get("Key") or "" for one in given for tag in one.get("Tags") or ()))
    return options


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse a number of hops that packets cannot make."""
    hops = options.get("HttpPutResponseHopLimit")
    if hops is not None and not 1 <= hops <= MOST_HOPS:
        raise AWSError(
            "InvalidParameterValue", f"The value {hops} for HttpPutResponseHopLimit is invalid: it must be 1 to 64."
        )


def check_tag_keys(options: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Refuse tags that would be no names in the tree of metadata, where it shows tags."""
    if options.get("InstanceMetadataTags") != "enabled":
        return
    for key in keys:
        if not TAG_KEY.fullmatch(key) or key in RESERVED:
            raise AWSError(
                "InvalidParameterValue",
                f"'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and "
                "must not be a reserved name ('.', '..', '_index')",
            )
