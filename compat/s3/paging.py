"""How much of a listing a call wants, and from where on."""

from __future__ import annotations

import base64

from compat.errors import AWSError
from compat.operation import Params
from compat.s3 import faults

MOST = 1000
LARGEST = 2**31 - 1


def limit_of(p: Params, member: str = "MaxKeys", argument: str = "max-keys") -> int:
    """How many entries a page may have: at most 1,000, whatever is asked for."""
    most = p.get(member)
    if most is None:
        return MOST
    if not 0 <= most <= LARGEST:
        # AWS calls the one by its member, the others by what was sent.
        name = "maxKeys" if member == "MaxKeys" else argument
        raise faults.invalid_argument(f"Argument {name} must be an integer between 0 and {LARGEST}", argument, most)
    return min(int(most), MOST)


def marker_of(p: Params) -> int:
    """The part number behind which a listing of parts begins."""
    marker = int(p.get("PartNumberMarker") or 0)
    if not 0 <= marker <= LARGEST:
        raise faults.invalid_argument(
            f"Argument part-number-marker must be an integer between 0 and {LARGEST}", "part-number-marker", marker
        )
    return marker


def token_of(name: str) -> str:
    """The continuation token of a listing that ends with `name`."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def name_in(token: str) -> str:
    """The name in a continuation token. Raises InvalidArgument for what is none."""
    try:
        name = base64.urlsafe_b64decode(token.encode()).decode()
    except ValueError:
        name = ""
    if not name or "\0" in name:
        raise wrong_token(token)
    return name


def wrong_token(token: str) -> AWSError:
    """InvalidArgument: nobody was given that continuation token."""
    return faults.invalid_argument("The continuation token provided is incorrect", "continuation-token", token or None)
