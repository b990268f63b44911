"""Passwords of users, and the rules for them."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

from backends.errors import Missing
from backends.identity.keys import password_fits
from backends.identity.models import Password, User
from compat.errors import AWSError
from compat.iam.faults import FAULTS, no_such
from compat.iam.names import subject, the_user
from compat.iam.principal import PrincipalKind
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

SYMBOLS = "!@#$%^&*()_+-=[]{}|'"
DEFAULT_RULES: dict[str, Any] = {
    "MinimumPasswordLength": 8,
    "RequireSymbols": False,
    "RequireNumbers": False,
    "RequireUppercaseCharacters": False,
    "RequireLowercaseCharacters": False,
    "AllowUsersToChangePassword": False,
}
"""What applies where an account has set no rules, besides three of the four sorts of characters."""


def _acceptable(ctx: Context, plain: str, user: User) -> str:
    """The password, when it obeys the account's rules. Raises PasswordPolicyViolation."""
    tenant = ctx.identity.tenant()
    given = tenant.password_rules if tenant is not None else None
    rules = given or DEFAULT_RULES
    sorts = {
        "RequireLowercaseCharacters": any(sign in string.ascii_lowercase for sign in plain),
        "RequireUppercaseCharacters": any(sign in string.ascii_uppercase for sign in plain),
        "RequireNumbers": any(sign in string.digits for sign in plain),
        "RequireSymbols": any(sign in SYMBOLS for sign in plain),
    }
    if len(plain) < rules["MinimumPasswordLength"]:
        raise _violation(f"Password should have a minimum length of {rules['MinimumPasswordLength']}")
    for name, said in (
        ("RequireLowercaseCharacters", "one lowercase character"),
        ("RequireUppercaseCharacters", "one uppercase character"),
        ("RequireNumbers", "one number"),
        ("RequireSymbols", "one symbol"),
    ):
        if rules.get(name) and not sorts[name]:
            raise _violation(f"Password should have at least {said}")
    if given is None and (sum(sorts.values()) < 3 or plain.casefold() == user.name.casefold()):
        raise _violation("Password must include three of: uppercase letters, lowercase letters, numbers, symbols")
    return plain


def _violation(message: str) -> AWSError:
    return AWSError("PasswordPolicyViolation", message)


def render_login_profile(user: User, password: Password) -> dict[str, Any]:
    """A login profile: that there is a password, never which."""
    return {
        "UserName": user.name,
        "CreateDate": password.created,
        "PasswordResetRequired": password.reset_required,
    }


@operation("iam:CreateLoginProfile", on=the_user, raises=FAULTS, slow=True)
def create_login_profile(ctx: Context, p: Params) -> Result:
    user = subject(ctx, p.get("UserName"))
    if user is None or not p.get("Password"):
        raise AWSError("ValidationError", "Must specify userName and password.")
    try:
        ctx.identity.password(user)
    except Missing:
        plain = _acceptable(ctx, p["Password"], user)
        password = ctx.identity.set_password(user, plain, bool(p.get("PasswordResetRequired")))
        return {"LoginProfile": render_login_profile(user, password)}
    raise AWSError("EntityAlreadyExists", f"Login Profile for user {user.name} already exists.")


@operation("iam:GetLoginProfile", on=the_user, raises=FAULTS)
def get_login_profile(ctx: Context, p: Params) -> Result:
    user = subject(ctx, p.get("UserName"))
    if user is None:
        raise no_such("Login Profile for the root of the account cannot be found.")
    return {"LoginProfile": render_login_profile(user, ctx.identity.password(user))}


@operation("iam:UpdateLoginProfile", on=the_user, raises=FAULTS, slow=True)
def update_login_profile(ctx: Context, p: Params) -> None:
    user = ctx.identity.get(User, p["UserName"])
    password = ctx.identity.password(user)
    if p.get("PasswordResetRequired") is not None:
        password.reset_required = p["PasswordResetRequired"]
    if p.get("Password"):
        ctx.identity.set_password(user, _acceptable(ctx, p["Password"], user), password.reset_required)


@operation("iam:DeleteLoginProfile", on=the_user, raises=FAULTS)
def delete_login_profile(ctx: Context, p: Params) -> None:
    user = subject(ctx, p.get("UserName"))
    if user is None:
        raise no_such("Login Profile for the root of the account cannot be found.")
    ctx.identity.remove_password(ctx.identity.password(user))


@operation("iam:ChangePassword", on=the_user, raises=FAULTS, slow=True)
def change_password(ctx: Context, p: Params) -> None:
    if ctx.principal.kind is not PrincipalKind.USER or ctx.principal.user_name is None:
        raise AWSError("InvalidUserType", "Only IAM Users can change their own password")
    user = ctx.identity.get(User, ctx.principal.user_name)
    password = ctx.identity.password(user)
    if not password_fits(p["OldPassword"], password.digest):
        raise AWSError("AccessDenied", "The old password was incorrect.")
    ctx.identity.set_password(user, _acceptable(ctx, p["NewPassword"], user), False)
