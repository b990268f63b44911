"""Shape validation in each service's own words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compat.errors import AWSError
from compat.model import SERVICES, operation_names
from compat.patterns import compiled
from compat.validate import validator


def refusal(service: str, operation: str, params: dict[str, Any]) -> AWSError:
    with pytest.raises(AWSError) as caught:
        validator(service, operation)(params)
    return caught.value


def message(service: str, operation: str, params: dict[str, Any]) -> str:
    return refusal(service, operation, params).message


def test_iam_lists_everything_that_is_wrong() -> None:
    fault = refusal("iam", "CreateUser", {"UserName": "a b", "Tags": [{"Key": ""}]})
    assert (fault.code, fault.status) == ("ValidationError", 400)
    assert fault.message.startswith("3 validation errors detected: Value 'a b' at 'userName' failed to satisfy ")
    assert "Member must satisfy regular expression pattern: [\\w+=,.@-]+" in fault.message
    assert "Value null at 'tags.1.member.value' failed to satisfy constraint: Member must not be null" in fault.message
    assert "Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must have length" in fault.message


@pytest.mark.parametrize(
    ("operation", "params", "constraint"),
    [
        ("CreateUser", {}, "Value null at 'userName' failed to satisfy constraint: Member must not be null"),
        ("CreateUser", {"UserName": "x" * 65}, "Member must have length less than or equal to 64"),
        ("ListUsers", {"MaxItems": 0}, "Member must have value greater than or equal to 1"),
        ("ListUsers", {"MaxItems": 1001}, "Member must have value less than or equal to 1000"),
        (
            "UpdateAccessKey",
            {"AccessKeyId": "A" * 20, "Status": "On"},
            "Value 'On' at 'status' failed to satisfy constraint: Member must satisfy enum value set: [",
        ),
    ],
)
def test_constraints(operation: str, params: dict[str, Any], constraint: str) -> None:
    text = message("iam", operation, params)
    assert text.startswith("1 validation error detected: ") and constraint in text


def test_secrets_are_not_repeated() -> None:
    text = message("iam", "ChangePassword", {"OldPassword": "o" * 200, "NewPassword": "n"})
    assert "ooo" not in text and "Value at 'oldPassword'" in text


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("sts", "AssumeRole", "ValidationError"),
        ("cloudformation", "DeleteStack", "ValidationError"),
        ("kms", "DescribeKey", "ValidationException"),
        ("ssm", "GetParameter", "ValidationException"),
        ("logs", "CreateLogGroup", "InvalidParameterException"),
        ("resourcegroupstaggingapi", "GetTagValues", "InvalidParameterException"),
    ],
)
def test_codes_by_service(service: str, operation: str, code: str) -> None:
    assert refusal(service, operation, {}).code == code


def test_ec2_names_one_parameter_as_the_form_does() -> None:
    missing = refusal("ec2", "CreateSubnet", {})
    assert (missing.code, missing.message) == ("MissingParameter", "The request must contain the parameter VpcId")
    inner = refusal("ec2", "CreateRoute", {"RouteTableId": None})
    assert inner.message == "The request must contain the parameter RouteTableId"
    small = refusal("ec2", "DescribeVpcs", {"MaxResults": 2})
    text = "Value ( 2 ) for parameter maxResults is invalid. Expecting a value greater than 5."
    assert (small.code, small.message) == ("InvalidParameterValue", text)
    bad = refusal("ec2", "CreateVpc", {"InstanceTenancy": "shared"})
    assert (bad.code, bad.message) == (
        "InvalidParameterValue",
        "Value (shared) for parameter instanceTenancy is invalid.",
    )


def test_an_empty_field_is_no_choice_in_ec2() -> None:
    validator("ec2", "CreateVpc")({"InstanceTenancy": ""})


def test_a_pattern_with_an_anchor_ends_where_it_says() -> None:
    policy = {"ResourceArn": "arn:aws:ssm:us-east-1:000000000000:parameter/p", "Policy": '{\n"Version": "2012-10-17"}'}
    validator("ssm", "PutResourcePolicy")(policy)
    assert "'policy'" in message("ssm", "PutResourcePolicy", policy | {"Policy": " "})


def test_ec2_leaves_growing_enumerations_to_handlers() -> None:
    run = validator("ec2", "RunInstances")
    run({"MinCount": 1, "MaxCount": 1, "InstanceType": "t99.huge"})
    validator("ec2", "CreateVolume")({"AvailabilityZone": "us-east-1a", "VolumeType": "gp9"})


def test_s3() -> None:
    assert refusal("s3", "PutBucketTagging", {"Bucket": "b"}).code == "MissingRequestBodyError"
    validator("s3", "PutBucketTagging")({"Bucket": "b", "Tagging": {}})
    inner = {"Bucket": "b", "Tagging": {"TagSet": [{"Key": "k"}]}}
    assert refusal("s3", "PutBucketTagging", inner).code == "MalformedXML"
    assert refusal("s3", "GetObjectAttributes", {"Bucket": "b", "Key": "k"}).code == "InvalidRequest"
    argument = refusal("s3", "CopyObject", {"Bucket": "b", "Key": "k"})
    assert (argument.code, argument.fields["ArgumentName"]) == ("InvalidArgument", "x-amz-copy-source")
    validator("s3", "PutObject")({"Bucket": "b", "Key": "k", "StorageClass": "LUKEWARM"})


def test_operations_outside_the_model_and_without_input_pass() -> None:
    validator("s3", "PostObject")({"anything": 1})
    validator("sts", "GetCallerIdentity")({})


def test_patterns_in_java_s_dialect() -> None:
    letters = compiled(r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$")
    assert letters is not None
    assert letters.fullmatch("Naïve 東京 1½-x") and not letters.fullmatch("a!b") and not letters.fullmatch("a\nb")
    anything = compiled(r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*")
    assert anything is not None and anything.fullmatch("a\t😀") and not anything.fullmatch("\0")
    assert compiled("(") is None


def test_every_pattern_of_every_model_is_understood() -> None:
    from compat.model import service_model

    for name in SERVICES:
        for shape, about in vars(service_model(name))["_service_description"]["shapes"].items():
            if "pattern" in about:
                assert compiled(about["pattern"]) is not None, (name, shape)


OPERATIONS = sorted((service, name) for service in SERVICES for name in operation_names(service))


@settings(max_examples=200)
@given(st.data())
def test_values_of_the_right_types_are_accepted_or_refused(data: st.DataObject) -> None:
    from compat.model import operation_model
    from tests.unit.shapes import Maker

    service, name = data.draw(st.sampled_from(OPERATIONS))
    model = operation_model(service, name)
    assert model is not None
    if model.input_shape is None:
        return
    params = Maker(data.draw(st.integers(0, 99)), True, empties=True).structure(model.input_shape)
    for member in data.draw(st.lists(st.sampled_from(sorted(params)), max_size=2)) if params else ():
        params.pop(member, None)
    try:
        validator(service, name)(params)
    except AWSError as fault:
        assert fault.status == 400 and fault.message
