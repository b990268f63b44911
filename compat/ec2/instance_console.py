"""What an instance shows: the log of its serial console, and its screen."""

from __future__ import annotations

import base64

from backends.compute.models import Guest
from backends.errors import DriverError, Missing, Unsupported
from compat.context import Context
from compat.errors import AWSError
from compat.operation import Params, Result, operation


@operation("ec2:GetConsoleOutput", on="instance/{InstanceId}")
def get_console_output(ctx: Context, p: Params) -> Result:
    """What an instance wrote to its serial console, in base64."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    ctx.volatile = True
    output = ctx.cloud.hosts["compute"].driver.console(guest.id)
    return {"InstanceId": guest.id, "Timestamp": ctx.now, "Output": base64.b64encode(output).decode()}


@operation(
    "ec2:GetConsoleScreenshot",
    on="instance/{InstanceId}",
    slow=True,
    raises={
        Unsupported: lambda fact: AWSError("UnsupportedOperation", f"There is no screen to show: {fact}."),
        Missing: lambda fact: AWSError("IncorrectInstanceState", "The instance is not running."),
        DriverError: lambda fact: AWSError("InternalError", "The screen cannot be shown now."),
    },
)
def get_console_screenshot(ctx: Context, p: Params) -> Result:
    """The screen of a running instance, as a JPEG in base64."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    ctx.volatile = True
    picture = ctx.cloud.hosts["compute"].driver.screenshot(guest.id)
    return {"InstanceId": guest.id, "ImageData": base64.b64encode(picture).decode()}
