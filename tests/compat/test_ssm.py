"""Parameters of one's own. Those that AWS publishes are in test_ec2_images.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.refused import refused

Client = Any


@pytest.fixture
def ssm(client: Callable[..., Client]) -> Client:
    return client("ssm")


def test_put_get_and_versions(ssm: Client, account: str) -> None:
    assert ssm.put_parameter(Name="/app/db/host", Value="one", Type="String", Description="d")["Version"] == 1
    with refused("ParameterAlreadyExists"):
        ssm.put_parameter(Name="/app/db/host", Value="two", Type="String")
    assert ssm.put_parameter(Name="/app/db/host", Value="two", Overwrite=True)["Version"] == 2
    one = ssm.get_parameter(Name="/app/db/host")["Parameter"]
    assert (one["Value"], one["Version"], one["Type"], one["DataType"]) == ("two", 2, "String", "text")
    assert one["ARN"] == f"arn:aws:ssm:us-east-1:{account}:parameter/app/db/host"
    assert ssm.get_parameter(Name="/app/db/host:1")["Parameter"]["Value"] == "one"
    assert ssm.get_parameter(Name=one["ARN"])["Parameter"]["Value"] == "two"
    with refused("ParameterVersionNotFound"):
        ssm.get_parameter(Name="/app/db/host:9")
    history = ssm.get_parameter_history(Name="/app/db/host")["Parameters"]
    assert [(old["Version"], old["Value"]) for old in history] == [(1, "one"), (2, "two")]
    ssm.label_parameter_version(Name="/app/db/host", ParameterVersion=1, Labels=["stable"])
    assert ssm.get_parameter(Name="/app/db/host:stable")["Parameter"]["Value"] == "one"
    labelled = [{"Key": "Label", "Values": ["stable"]}]
    found = ssm.get_parameters_by_path(Path="/app/db", ParameterFilters=labelled)["Parameters"]
    assert [(one["Name"], one["Value"]) for one in found] == [("/app/db/host", "one")]


def test_secrets_are_sealed(ssm: Client) -> None:
    ssm.put_parameter(Name="password", Value="hunter2", Type="SecureString")
    assert ssm.get_parameter(Name="password", WithDecryption=True)["Parameter"]["Value"] == "hunter2"
    assert "hunter2" not in ssm.get_parameter(Name="password")["Parameter"]["Value"]
    (about,) = ssm.describe_parameters()["Parameters"]
    assert about["KeyId"] == "alias/aws/ssm" and "Value" not in about


def test_paths(ssm: Client) -> None:
    for name in ("/app/a", "/app/b/c", "/application/d", "plain"):
        ssm.put_parameter(Name=name, Value=name, Type="String")

    def below(**options: Any) -> list[str]:
        return [one["Name"] for one in ssm.get_parameters_by_path(Path="/app", **options)["Parameters"]]

    assert below() == ["/app/a"]
    assert below(Recursive=True) == ["/app/a", "/app/b/c"]
    answer = ssm.get_parameters(Names=["/app/a", "nothing"])
    assert [one["Name"] for one in answer["Parameters"]] == ["/app/a"] and answer["InvalidParameters"] == ["nothing"]
    filters = [{"Key": "Name", "Option": "BeginsWith", "Values": ["/app"]}]
    assert len(ssm.describe_parameters(ParameterFilters=filters)["Parameters"]) == 3
    assert ssm.delete_parameters(Names=["/app/a", "nothing"]) | {"ResponseMetadata": None} == {
        "DeletedParameters": ["/app/a"],
        "InvalidParameters": ["nothing"],
        "ResponseMetadata": None,
    }
    ssm.delete_parameter(Name="plain")
    with refused("ParameterNotFound"):
        ssm.delete_parameter(Name="plain")


def test_tags(ssm: Client, client: Callable[..., Client]) -> None:
    ssm.put_parameter(Name="tagged", Value="x", Type="String", Tags=[{"Key": "a", "Value": "1"}])
    ssm.add_tags_to_resource(ResourceType="Parameter", ResourceId="tagged", Tags=[{"Key": "b", "Value": "2"}])
    ssm.remove_tags_from_resource(ResourceType="Parameter", ResourceId="tagged", TagKeys=["a"])
    tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="tagged")["TagList"]
    assert tags == [{"Key": "b", "Value": "2"}]
    assert client("ec2").describe_tags()["Tags"] == []


def test_refusals(ssm: Client, client: Callable[..., Client]) -> None:
    for name in ("aws/x", "/ssm/x", "a b", "no/leading/slash"):
        with refused("ValidationException"):
            ssm.put_parameter(Name=name, Value="x", Type="String")
    with refused("ValidationException", "4096"):
        ssm.put_parameter(Name="big", Value="x" * 5000, Type="String")
    with refused("ParameterPatternMismatchException"):
        ssm.put_parameter(Name="digits", Value="x", Type="String", AllowedPattern="[0-9]+")
    ssm.put_parameter(Name="mine", Value="x", Type="String")
    with refused("ParameterNotFound"):
        client("ssm", region="eu-west-1").get_parameter(Name="mine")
