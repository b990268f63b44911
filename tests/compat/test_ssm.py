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


def test_filters(ssm: Client) -> None:
    ssm.put_parameter(Name="/app/a", Value="x", Type="String", Tags=[{"Key": "team", "Value": "red"}])
    ssm.put_parameter(Name="/app/b/c", Value="x", Type="StringList", Tags=[{"Key": "team", "Value": "blue"}])
    ssm.put_parameter(Name="other", Value="x", Type="String")

    def found(*filters: tuple[str, str | None, list[str]]) -> list[str]:
        asked = [{"Key": key, "Values": values, **({"Option": o} if o else {})} for key, o, values in filters]
        return [one["Name"] for one in ssm.describe_parameters(ParameterFilters=asked)["Parameters"]]

    assert found(("tag:team", None, ["red"])) == ["/app/a"]
    assert found(("tag:team", "BeginsWith", ["bl"]), ("Type", None, ["StringList"])) == ["/app/b/c"]
    assert found(("Path", None, ["/app"])) == ["/app/a"]
    assert found(("Path", "Recursive", ["/app/"])) == ["/app/a", "/app/b/c"]
    assert found(("Name", "Contains", ["the"])) == ["other"]
    with refused("InvalidFilterKey", "[Path, Name, Type, KeyId, Tier]"):
        found(("Label", None, ["x"]))
    with refused("InvalidFilterKey", "duplicated"):
        found(("Name", None, ["x"]), ("Name", None, ["y"]))
    with refused("InvalidFilterOption", "[Recursive, OneLevel]"):
        found(("Path", "Equals", ["/app"]))
    with refused("InvalidFilterValue", "[String, StringList, SecureString]"):
        found(("Type", None, ["Text"]))
    with refused("InvalidFilterValue", "missing"):
        ssm.describe_parameters(ParameterFilters=[{"Key": "Name"}])
    with refused("ValidationException", "begin with a forward slash"):
        found(("Path", None, ["app"]))
    with refused("InvalidFilterKey"):
        ssm.get_parameters_by_path(Path="/app", ParameterFilters=[{"Key": "Name", "Values": ["x"]}])
    labelled = [{"Key": "Type", "Values": ["StringList"]}]
    told = ssm.get_parameters_by_path(Path="/app", Recursive=True, ParameterFilters=labelled)["Parameters"]
    assert [one["Name"] for one in told] == ["/app/b/c"]


def test_labels_stand_on_versions(ssm: Client) -> None:
    for value in "ab":
        ssm.put_parameter(Name="p", Value=value, Type="String", Overwrite=True)
    ssm.label_parameter_version(Name="p", ParameterVersion=1, Labels=["live", "old"])
    ssm.label_parameter_version(Name="p", ParameterVersion=2, Labels=["live"])
    assert ssm.get_parameter(Name="p:live")["Parameter"]["Value"] == "b"
    told = ssm.unlabel_parameter_version(Name="p", ParameterVersion=1, Labels=["old", "never"])
    assert (told["RemovedLabels"], told["InvalidLabels"]) == (["old"], ["never"])
    with refused("ParameterVersionNotFound"):
        ssm.get_parameter(Name="p:old")
    ssm.label_parameter_version(Name="p", ParameterVersion=2, Labels=[f"l{number}" for number in range(9)])
    with refused("ParameterVersionLabelLimitExceeded", "maximum 10 labels"):
        ssm.label_parameter_version(Name="p", ParameterVersion=2, Labels=["more"])
    assert len(ssm.get_parameters(Names=["p", "p"])["Parameters"]) == 1


def test_a_labelled_version_is_never_forgotten(ssm: Client) -> None:
    for number in range(100):
        ssm.put_parameter(Name="p", Value=str(number), Type="String", Overwrite=True)
    ssm.label_parameter_version(Name="p", ParameterVersion=1, Labels=["first"])
    with refused("ParameterMaxVersionLimitExceeded", "Version 1"):
        ssm.put_parameter(Name="p", Value="x", Type="String", Overwrite=True)
    ssm.label_parameter_version(Name="p", ParameterVersion=2, Labels=["first"])
    assert ssm.put_parameter(Name="p", Value="x", Type="String", Overwrite=True)["Version"] == 101


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
    with refused("ValidationException", "length greater than or equal to 1"):
        ssm.put_parameter(Name="empty", Value="", Type="String")
    with refused("ValidationException", "data type is not supported: Text"):
        ssm.put_parameter(Name="typed", Value="x", Type="String", DataType="Text")
    with refused("ValidationException", "4096"):
        ssm.put_parameter(Name="big", Value="x" * 5000, Type="String")
    with refused("ParameterPatternMismatchException"):
        ssm.put_parameter(Name="digits", Value="x", Type="String", AllowedPattern="[0-9]+")
    ssm.put_parameter(Name="mine", Value="x", Type="String")
    with refused("ParameterNotFound"):
        client("ssm", region="eu-west-1").get_parameter(Name="mine")
