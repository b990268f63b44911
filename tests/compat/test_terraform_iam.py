"""Terraform's IAM resources: they come, stay as planned, change and go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.passing import until
from tests.compat.test_terraform import Terraform, leftovers, terraform

__all__ = ["terraform"]

CONFIGURATION = Path(__file__).parent / "terraform_iam"


@pytest.mark.embedded
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_iam_comes_stays_changes_and_goes(terraform: Terraform, client: Callable[..., Any]) -> None:
    terraform.begin(CONFIGURATION)

    outputs = terraform.outputs()
    assert outputs["allowed"] is True
    sts = new_client(terraform.endpoint, "sts", outputs["key"], secret=outputs["secret"])
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:iam::{terraform.account}:user/people/dev"
    assert sts.assume_role(RoleArn=outputs["role"], RoleSessionName="dev")["Credentials"]["AccessKeyId"]

    terraform.environment["TF_VAR_stage"] = "two"
    terraform.apply()
    role = client("iam").get_role(RoleName="web")["Role"]
    assert (role["Description"], role["MaxSessionDuration"]) == ("stage two", 3600)
    assert "PermissionsBoundary" not in role

    terraform.run("destroy", "-auto-approve", "-no-color", "-input=false")
    until(lambda: leftovers(client), lambda left: not left)  # what goes with an instance goes a little later
    assert client("iam").list_users()["Users"] == []
