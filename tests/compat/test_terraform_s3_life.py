"""Terraform's resources about the life of objects: they come, stay as planned, work, change and go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compat.passing import until
from tests.compat.test_terraform import Terraform, leftovers, terraform

__all__ = ["terraform"]

CONFIGURATION = Path(__file__).parent / "terraform_s3"


@pytest.mark.embedded
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_life_of_objects_comes_stays_changes_and_goes(terraform: Terraform, client: Callable[..., Any]) -> None:
    terraform.begin(CONFIGURATION)

    s3, bucket = client("s3"), terraform.environment["TF_VAR_bucket"]
    version = s3.put_object(Bucket=bucket, Key="copied/a.txt", Body=b"x")["VersionId"]
    look = {"Bucket": bucket, "Key": "copied/a.txt"}
    until(lambda: s3.head_object(**look)["ReplicationStatus"], lambda status: status == "COMPLETED")
    for name in (bucket, f"{bucket}-target"):
        there = {"Bucket": name, "Key": "copied/a.txt", "VersionId": version}
        assert s3.head_object(**there)["ObjectLockMode"] == "GOVERNANCE"
        s3.delete_object(**there, BypassGovernanceRetention=True)

    terraform.environment["TF_VAR_stage"] = "two"
    terraform.apply()
    assert s3.get_bucket_logging(Bucket=bucket)["LoggingEnabled"]["TargetPrefix"] == "log/two/"

    terraform.run("destroy", "-auto-approve", "-no-color", "-input=false")
    until(lambda: leftovers(client), lambda left: not left)  # what goes with an instance goes a little later
