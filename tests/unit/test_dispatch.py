"""From call to answer: validation, DryRun, client tokens, audit, kept answers, filters, pages, tags, over records."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select

from backends import schema
from backends.db import Database
from backends.network.book import NetworkHost
from backends.network.service import NetworkService
from compat.audit import AuditEntry
from compat.cloud import Cloud, Rules
from compat.context import Call
from compat.dispatch import Dispatcher, invoke
from compat.errors import AWSError
from compat.iam.principal import root
from compat.operation import load

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    load()
    database = Database(database_url)
    schema.prepare(database)
    yield database
    database.close()


@pytest.fixture
def dispatcher(database: Database) -> Dispatcher:
    return Dispatcher(Cloud(database, Rules(), {"network": lambda unit: NetworkService(unit, NetworkHost())}))


@pytest.fixture
def ask(dispatcher: Dispatcher) -> Ask:
    def ask(name: str, account: str = "111111111111", region: str = "us-east-1", **params: Any) -> dict[str, Any]:
        raw = repr(sorted(params.items())).encode()
        call = Call("ec2", name, params, root(account), region, secrets.token_hex(8), raw)
        return invoke(dispatcher, call).result

    return ask


def code(error: pytest.ExceptionInfo[AWSError]) -> tuple[str, int]:
    return error.value.code, error.value.status


def gateway(ask: Ask, **more: Any) -> str:
    made = ask("CreateCustomerGateway", **{"Type": "ipsec.1", "IpAddress": "192.0.2.1", "BgpAsn": 65000, **more})
    id = made["CustomerGateway"]["CustomerGatewayId"]
    assert isinstance(id, str)
    return id


def tagged(key: str, value: str, kind: str = "customer-gateway") -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value}]}]


def test_what_is_not_implemented_says_so_by_name(ask: Ask) -> None:
    with pytest.raises(AWSError, match="ec2:CreateCoipPool") as error:
        ask("CreateCoipPool", LocalGatewayRouteTableId="lgw-rtb-1")
    assert code(error) == ("NotImplemented", 501)


def test_a_missing_parameter_is_named(ask: Ask) -> None:
    with pytest.raises(AWSError, match="Type") as error:
        ask("CreateCustomerGateway", IpAddress="192.0.2.1")
    assert code(error) == ("MissingParameter", 400)


def test_dry_run_changes_nothing(ask: Ask) -> None:
    with pytest.raises(AWSError) as error:
        ask("CreateCustomerGateway", Type="ipsec.1", IpAddress="192.0.2.1", DryRun=True)
    assert code(error) == ("DryRunOperation", 412)
    assert ask("DescribeCustomerGateways")["CustomerGateways"] == []


def test_accounts_and_regions_see_their_own(ask: Ask) -> None:
    id = gateway(ask)
    assert ask("DescribeCustomerGateways", region="eu-west-1")["CustomerGateways"] == []
    with pytest.raises(AWSError) as error:
        ask("DescribeCustomerGateways", account="222222222222", CustomerGatewayIds=[id])
    assert code(error) == ("InvalidCustomerGatewayID.NotFound", 400)
    with pytest.raises(AWSError) as error:
        ask("DeleteCustomerGateway", account="222222222222", CustomerGatewayId=id)
    assert code(error) == ("InvalidCustomerGatewayID.NotFound", 400)
    assert len(ask("DescribeCustomerGateways")["CustomerGateways"]) == 1


def test_malformed_and_absent_ids_differ(ask: Ask) -> None:
    with pytest.raises(AWSError) as error:
        ask("DescribeCustomerGateways", CustomerGatewayIds=["cgw-xyz"])
    assert code(error) == ("InvalidCustomerGatewayID.Malformed", 400)
    with pytest.raises(AWSError) as error:
        ask("DescribeCustomerGateways", CustomerGatewayIds=["cgw-0123456789abcdef0"])
    assert code(error) == ("InvalidCustomerGatewayID.NotFound", 400)


def test_every_change_is_audited_and_refusals_are_not(ask: Ask, database: Database) -> None:
    id = gateway(ask)
    ask("DescribeCustomerGateways")
    with pytest.raises(AWSError):
        ask("DeleteCustomerGateway", CustomerGatewayId="cgw-0123456789abcdef0")
    ask("DeleteCustomerGateway", CustomerGatewayId=id)
    with database.unit(None, write=False) as unit:
        trail = unit.session.execute(select(AuditEntry.operation, AuditEntry.principal).order_by(AuditEntry.id)).all()
    assert [tuple(entry) for entry in trail] == [
        ("ec2:CreateCustomerGateway", "arn:aws:iam::111111111111:root"),
        ("ec2:DeleteCustomerGateway", "arn:aws:iam::111111111111:root"),
    ]


def test_a_kept_answer_is_given_again_until_something_changes(ask: Ask, dispatcher: Dispatcher) -> None:
    first = gateway(ask)

    def describe() -> Any:
        call = Call("ec2", "DescribeCustomerGateways", {}, root("111111111111"), "us-east-1", "r", b"same")
        return invoke(dispatcher, call)

    kept = describe()
    assert describe() is kept
    second = gateway(ask)
    assert {g["CustomerGatewayId"] for g in describe().result["CustomerGateways"]} == {first, second}
    kept = describe()
    ask("CreateTags", Resources=[first], Tags=[{"Key": "a", "Value": "b"}])
    assert describe() is not kept, "tags belong to the answer"
    other = Call("ec2", "DescribeCustomerGateways", {}, root("222222222222"), "us-east-1", "r", b"same")
    assert invoke(dispatcher, other).result["CustomerGateways"] == []


def test_tags_on_create_filters_and_wildcards(ask: Ask) -> None:
    red = gateway(ask, TagSpecifications=tagged("colour", "red"), BgpAsn=65001)
    blue = gateway(ask, TagSpecifications=tagged("colour", "bl%e"))
    gateway(ask)

    def found(*filters: tuple[str, list[str]]) -> set[str]:
        asked = [{"Name": name, "Values": values} for name, values in filters]
        return {g["CustomerGatewayId"] for g in ask("DescribeCustomerGateways", Filters=asked)["CustomerGateways"]}

    assert found(("tag:colour", ["red"])) == {red}
    assert found(("tag:colour", ["*e*"])) == {red, blue}
    assert found(("tag:colour", ["bl%?"])) == {blue}, "a percent sign is a letter like any other"
    assert found(("tag:colour", ["BL*"])) == set(), "values count by case"
    assert found(("tag-key", ["colour"]), ("bgp-asn", ["65001"])) == {red}
    assert found(("tag:colour", ["red", "blue"])) == {red}
    assert found(("tag:colour", ["\\*"])) == set(), "an escaped star is a star"
    with pytest.raises(AWSError, match="vpc-id") as error:
        found(("vpc-id", ["vpc-1"]))
    assert code(error) == ("InvalidParameterValue", 400)


def test_tags_are_limited_and_reserved_keys_refused(ask: Ask) -> None:
    id = gateway(ask)
    with pytest.raises(AWSError) as error:
        ask("CreateTags", Resources=[id], Tags=[{"Key": "aws:x", "Value": "y"}])
    assert code(error) == ("InvalidParameterValue", 400)
    ask("CreateTags", Resources=[id], Tags=[{"Key": f"k{n}", "Value": ""} for n in range(50)])
    ask("CreateTags", Resources=[id], Tags=[{"Key": "k1", "Value": "again"}])
    with pytest.raises(AWSError) as error:
        ask("CreateTags", Resources=[id], Tags=[{"Key": "one more", "Value": ""}])
    assert code(error) == ("TagLimitExceeded", 400)
    assert len(ask("DescribeTags")["Tags"]) == 50


def test_create_tags_is_all_or_nothing(ask: Ask) -> None:
    id = gateway(ask)
    with pytest.raises(AWSError):
        ask("CreateTags", Resources=[id, "cgw-0123456789abcdef0"], Tags=[{"Key": "a", "Value": "b"}])
    assert ask("DescribeTags")["Tags"] == []


def test_delete_tags_heeds_the_value(ask: Ask) -> None:
    id = gateway(ask, TagSpecifications=tagged("a", "1"))
    ask("DeleteTags", Resources=[id], Tags=[{"Key": "a", "Value": "2"}])
    assert len(ask("DescribeTags")["Tags"]) == 1
    ask("DeleteTags", Resources=[id], Tags=[{"Key": "a"}])
    assert ask("DescribeTags")["Tags"] == []
    ask("CreateTags", Resources=[id], Tags=[{"Key": "b", "Value": ""}, {"Key": "c", "Value": ""}])
    ask("DeleteTags", Resources=[id])
    assert ask("DescribeTags")["Tags"] == []


def test_describe_tags_pages_in_order(ask: Ask) -> None:
    ids = sorted(gateway(ask) for _ in range(3))
    ask("CreateTags", Resources=ids, Tags=[{"Key": key, "Value": key.upper()} for key in "abc"])
    seen, token = [], None
    while True:
        answer = ask("DescribeTags", MaxResults=5, **({"NextToken": token} if token else {}))
        seen += [(tag["ResourceId"], tag["Key"]) for tag in answer["Tags"]]
        token = answer.get("NextToken")
        if token is None:
            break
    assert seen == [(id, key) for id in ids for key in "abc"]
    filtered = ask("DescribeTags", Filters=[{"Name": "tag:a", "Values": ["A"]}])["Tags"]
    assert [tag["ResourceId"] for tag in filtered] == ids
    with pytest.raises(AWSError) as error:
        ask("DescribeTags", NextToken="made up")
    assert code(error) == ("InvalidNextToken", 400)
