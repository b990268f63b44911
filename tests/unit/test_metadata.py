"""The metadata service without its wire: rotation of credentials, and the tree as a function of rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.compute.models import Guest
from backends.db import Scope
from backends.identity.models import Role
from compat.metadata.role_credentials import LASTS, RENEWED, RoleCredentials
from compat.metadata.service import asked_at
from compat.metadata.tree import Keys, Node, at, listing
from tests.unit.nimbus import ACCOUNT, Nimbus, policy, trust

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
TREE: dict[str, Node] = {
    "meta-data": {"ami-id": "ami-1", "keys": Keys("mine", "ssh-ed25519 AAAA"), "late": lambda: "now"},
    "user-data": b"\x00\xff",
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", "meta-data\nuser-data"),
        ("meta-data", "ami-id\nkeys/\nlate"),
        ("/meta-data//ami-id/", "ami-1"),
        ("meta-data/ami-id/more", None),
        ("meta-data/keys/", "0=mine"),
        ("meta-data/keys/0", "openssh-key"),
        ("meta-data/keys/0/openssh-key", "ssh-ed25519 AAAA"),
        ("meta-data/late", "now"),
        ("user-data", b"\x00\xff"),
        ("elsewhere", None),
    ],
)
def test_paths_lead_to_leaves_and_lists(path: str, found: str | bytes | None) -> None:
    assert at(TREE, path) == found


@given(st.text(max_size=80))
def test_no_path_upsets_the_tree(path: str) -> None:
    found = at(TREE, path)
    assert found is None or found in ("ami-1", "now", b"\x00\xff") or isinstance(found, str)


def test_an_empty_folder_lists_nothing() -> None:
    assert listing({}) == ""


def test_only_addresses_of_loopback_may_be_an_instances() -> None:
    for nobody in ("10.0.0.1", "127.0.0", "::1", ""):
        assert asked_at(nobody) is None
    assert asked_at("127.161.178.195") is not None


def test_credentials_are_kept_until_shortly_before_their_end(nimbus: Nimbus) -> None:
    statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    nimbus.call("iam:CreateRole", RoleName="worker", AssumeRolePolicyDocument=policy(statement))
    nimbus.call("iam:CreateRole", RoleName="other", AssumeRolePolicyDocument=trust(f"arn:aws:iam::{ACCOUNT}:root"))
    guest = Guest(id="i-0123456789aa1b2c3", tenant=ACCOUNT, region="us-east-1")
    with nimbus.database.unit(Scope(ACCOUNT, ""), write=False) as unit:
        roles = {role.name: role for role in unit.session.query(Role)}
    now = NOON
    nimbus.database.clock = lambda: now
    credentials = RoleCredentials(nimbus.cloud)

    first = json.loads(credentials.text(guest, roles["worker"]))
    assert (first["LastUpdated"], first["Expiration"]) == ("2026-01-02T12:00:00Z", "2026-01-02T18:00:00Z")
    now = NOON + LASTS - RENEWED - timedelta(seconds=1)
    assert json.loads(credentials.text(guest, roles["worker"])) == first
    now += timedelta(seconds=1)
    second = json.loads(credentials.text(guest, roles["worker"]))
    assert second["AccessKeyId"] != first["AccessKeyId"]
    assert second["LastUpdated"] == "2026-01-02T17:00:00Z"
    for given_ in (first, second):  # what was given stays good until it ends
        credential = nimbus.directory.credential(given_["AccessKeyId"])
        assert credential is not None
        assert credential.session_token == given_["Token"]
        assert credential.principal.arn.endswith(f"assumed-role/worker/{guest.id}")
    refused = json.loads(credentials.text(guest, roles["other"]))
    assert refused["Code"] == "AssumeRoleUnauthorizedAccess"
    assert "AccessKeyId" not in refused
