"""The check of results against their shapes, by which the tests of handlers find misspelt members."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from compat.model import operation_model
from gateway.wire import codecs
from tests.conformance import checked, misfits


def faults(service: str, operation: str, result: dict[str, Any]) -> list[str]:
    model = operation_model(service, operation)
    assert model is not None and model.output_shape is not None
    return misfits(model.output_shape, result)


def test_a_result_that_fits() -> None:
    instance = {"InstanceId": "i-1", "LaunchTime": datetime(2026, 1, 1, tzinfo=UTC), "Tags": [], "KeyName": None}
    assert faults("ec2", "DescribeInstances", {"Reservations": [{"Instances": [instance]}]}) == []
    part = {"Body": object(), "Metadata": {"a": "b"}, "Expires": "never", "$status": 206}
    assert faults("s3", "GetObject", part) == []
    assert faults("iam", "GetAccountSummary", {"SummaryMap": {"Users": 1}}) == []


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"Vpc": []}, "Vpc is no member of DescribeVpcsResult"),
        ({"Vpcs": [{"VpcID": "vpc-1"}]}, "Vpcs.0.VpcID is no member of Vpc"),
        ({"Vpcs": {}}, "Vpcs is dict, not a list"),
        ({"Vpcs": [None]}, "Vpcs.0 is None"),
        ({"Vpcs": [{"IsDefault": "true"}]}, "Vpcs.0.IsDefault is str ('true'), not boolean"),
        ({"Vpcs": [{"VpcId": 1}]}, "Vpcs.0.VpcId is int (1), not string"),
        ({"Vpcs": ["vpc-1"]}, "Vpcs.0 is str, not a structure"),
    ],
)
def test_results_that_do_not_fit(result: dict[str, Any], told: str) -> None:
    assert faults("ec2", "DescribeVpcs", result) == [told]


def test_a_checked_writer_raises_before_it_writes() -> None:
    model = operation_model("ec2", "DescribeVpcs")
    assert model is not None
    write = checked(codecs.WRITERS["ec2"])(model)
    assert write({"Vpcs": []}).render("rid").status == 200
    with pytest.raises(AssertionError, match="ec2:DescribeVpcs: Vpc is no member"):
        write({"Vpc": []})
