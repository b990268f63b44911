"""The credential report: a table of all users and the state of their passwords, keys, devices and certificates."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from backends.errors import Missing
from backends.identity.models import Possession, User
from compat.errors import AWSError
from compat.iam.certificates import SIGNING
from compat.iam.faults import FAULTS
from compat.iam.mfa_devices import KIND as MFA_DEVICE
from compat.iam.names import arn
from compat.iam.users import ROOT_CREATED
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

KIND = "credential report"
GOOD_FOR = timedelta(hours=4)
"""How long a report is handed out before a new one must be made."""

_KEY = ("active", "last_rotated", "last_used_date", "last_used_region", "last_used_service")
COLUMNS = (
    "user",
    "arn",
    "user_creation_time",
    "password_enabled",
    "password_last_used",
    "password_last_changed",
    "password_next_rotation",
    "mfa_active",
    *(f"access_key_{number}_{name}" for number in (1, 2) for name in _KEY),
    *(f"cert_{number}_{name}" for number in (1, 2) for name in ("active", "last_rotated")),
)


def _time(moment: datetime | None) -> str:
    return "N/A" if moment is None else moment.isoformat(timespec="seconds")


def _truth(value: bool) -> str:
    return str(value).lower()


def _row(ctx: Context, user: User | None) -> dict[str, Any]:
    """One line: of a user, or of the root of the account."""
    identity = ctx.identity
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "N/A")
    row |= {"password_enabled": "not_supported", "mfa_active": "false", "password_last_used": "no_information"}
    for number in (1, 2):
        row |= {f"access_key_{number}_active": "false", f"cert_{number}_active": "false"}
    if user is None:
        root = {"user": "<root_account>", "arn": f"arn:{ctx.partition}:iam::{ctx.account}:root"}
        row |= root | {"user_creation_time": _time(ROOT_CREATED), "password_last_changed": "not_supported"}
    else:
        row |= {"user": user.name, "arn": arn(ctx, user), "user_creation_time": _time(user.created)}
        row["mfa_active"] = _truth(bool(identity.possessions(MFA_DEVICE, user)))
        row |= _password(ctx, user)
        for number, certificate in enumerate(identity.possessions(SIGNING, user), 1):
            row[f"cert_{number}_active"] = _truth(certificate.about["status"] == "Active")
            row[f"cert_{number}_last_rotated"] = _time(certificate.created)
    for number, key in enumerate(identity.keys_of(user), 1):
        use = identity.key_with_use(key.id)[2]
        told = (_truth(key.active), _time(key.created), "N/A", "N/A", "N/A")
        if use is not None:
            told = (*told[:2], _time(use.used), use.region, use.service)
        row |= {f"access_key_{number}_{name}": value for name, value in zip(_KEY, told, strict=True)}
    return row


def _password(ctx: Context, user: User) -> dict[str, str]:
    try:
        password = ctx.identity.password(user)
    except Missing:
        return {"password_enabled": "false", "password_last_used": "N/A"}
    return {"password_enabled": "true", "password_last_changed": _time(password.created)}


@operation("iam:GenerateCredentialReport", on="*", raises=FAULTS)
def generate_credential_report(ctx: Context, p: Params) -> Result:
    held = ctx.identity.possession(KIND, KIND)
    if held is None or held.created + GOOD_FOR < ctx.now:
        if held is not None:
            ctx.identity.drop(held)
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(_row(ctx, user) for user in (None, *ctx.identity.listed(User)))
        ctx.identity.file(Possession(id=KIND, kind=KIND, about={"text": text.getvalue()}))
    return {"State": "COMPLETE"}


@operation("iam:GetCredentialReport", on="*", raises=FAULTS)
def get_credential_report(ctx: Context, p: Params) -> Result:
    held = ctx.identity.possession(KIND, KIND)
    if held is None:
        raise AWSError("ReportNotPresent", "No report found for account. Use GenerateCredentialReport.", 410)
    if held.created + GOOD_FOR < ctx.now:
        raise AWSError("ReportExpired", "The report is too old. Use GenerateCredentialReport.", 410)
    return {"Content": held.about["text"].encode(), "ReportFormat": "text/csv", "GeneratedTime": held.created}
