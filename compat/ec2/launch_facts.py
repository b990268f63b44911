"""What a launch names: images, types, user data, instance profiles."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from backends.identity.models import Profile
from backends.image.models import Image, ImageState
from compat.context import Context
from compat.ec2.catalogue import parameters
from compat.ec2.flavors import Flavor, flavors
from compat.errors import AWSError
from compat.iam.names import arn as iam_arn

USER_DATA_LIMIT = 16384


def _invalid(message: str) -> AWSError:
    return AWSError("InvalidParameterValue", message)


def find_image(ctx: Context, id: str | None) -> Image:
    """The image that a call names, by its id or by `resolve:ssm:` and a public parameter."""
    if not id:
        raise AWSError("MissingParameter", "The request must contain the parameter ImageId")
    if id.startswith("resolve:ssm:"):
        path = id.removeprefix("resolve:ssm:")
        found = parameters(ctx.region).get(path.partition(":")[0])
        if found is None:
            raise _invalid(f"Value ({id}) for parameter ImageId is invalid. The parameter does not exist.")
        id = found
    image: Image = ctx.find("image", id)
    if image.state != ImageState.AVAILABLE:
        raise AWSError("InvalidAMIID.Unavailable", f"The image id '[{id}]' is not available: it is {image.state}.")
    return image


def find_flavor(name: str) -> Flavor:
    """The instance type of that name."""
    found = flavors().get(name)
    if found is None:
        raise _invalid(f"Invalid value '{name}' for InstanceType.")
    return found


def check_user_data(text: str | None) -> str | None:
    """User data as it is kept, in base64."""
    if not text:
        return None
    try:
        data = base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError) as error:
        raise _invalid("Invalid BASE64 encoding of user data.") from error
    if len(data) > USER_DATA_LIMIT:
        raise _invalid(f"User data is limited to {USER_DATA_LIMIT} bytes")
    return base64.b64encode(data).decode()


def find_profile(ctx: Context, named: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The ARN and the unique id of the instance profile that a call names."""
    if not named:
        return None
    arn, name = named.get("Arn"), named.get("Name")
    if arn and name:
        raise AWSError(
            "InvalidParameterCombination",
            "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'",
        )
    wanted = name or (arn or "").rpartition("/")[2]
    profile = ctx.identity.find(Profile, wanted)
    if profile is None or (arn and iam_arn(ctx, profile) != arn):
        which = "name" if name else "arn"
        raise _invalid(
            f"Value ({name or arn}) for parameter iamInstanceProfile.{which} is invalid. "
            f"Invalid IAM Instance Profile {which}"
        )
    if profile.role_id is None:
        raise _invalid(f'IAM Instance Profile "{iam_arn(ctx, profile)}" has no associated IAM Roles')
    return {"Arn": iam_arn(ctx, profile), "Id": profile.id}
