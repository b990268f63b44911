"""Objects reach the buckets that a replication configuration names, in the name of its role."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.compat.passing import ask, until
from tests.compat.s3_worlds import code_of, make_bucket
from tests.server import Server

pytestmark = pytest.mark.embedded
OTHER = "777788889999"


class World:
    """Two buckets that keep versions, and a role that may do what replication needs."""

    def __init__(self, client: Any, account: str, target_account: str | None = None) -> None:
        self.s3, self.iam, self.account = client("s3"), client("iam"), account
        self.there = self.s3 if target_account is None else client("s3", account=target_account)
        self.source, self.target = make_bucket(self.s3), make_bucket(self.there)
        for s3, bucket in ((self.s3, self.source), (self.there, self.target)):
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        trust = {"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sts:AssumeRole"}
        self.role = self.iam.create_role(RoleName="replicator", AssumeRolePolicyDocument=document(trust))["Role"]["Arn"]
        self.allow("s3:*")

    def allow(self, *actions: str) -> None:
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        self.iam.put_role_policy(RoleName="replicator", PolicyName="p", PolicyDocument=document(statement))

    def rule(self, **about: Any) -> dict[str, Any]:
        target = {"Bucket": f"arn:aws:s3:::{self.target}"} | about.pop("Destination", {})
        rule = {"ID": "r", "Status": "Enabled", "Priority": 1, "Filter": {"Prefix": ""}, "Destination": target}
        return rule | {"DeleteMarkerReplication": {"Status": "Disabled"}} | about

    def configure(self, *rules: dict[str, Any]) -> None:
        configuration = {"Role": self.role, "Rules": list(rules)}
        self.s3.put_bucket_replication(Bucket=self.source, ReplicationConfiguration=configuration)

    def put(self, key: str, **about: Any) -> str:
        return str(self.s3.put_object(Bucket=self.source, Key=key, Body=b"hello", **about)["VersionId"])

    def status(self, key: str, wanted: str) -> None:
        """Wait until a version says how it was replicated."""
        look = self.s3.head_object
        until(lambda: look(Bucket=self.source, Key=key).get("ReplicationStatus"), lambda found: found == wanted)

    def names(self) -> list[tuple[str, str]]:
        found = self.there.list_object_versions(Bucket=self.target)
        return sorted((one["Key"], one["VersionId"]) for one in found.get("Versions", ())) + sorted(
            ("marker", one["VersionId"]) for one in found.get("DeleteMarkers", ())
        )


def document(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statement})


@pytest.fixture
def world(client: Any, account: str) -> World:
    return World(client, account)


def test_what_is_put_after_the_configuration_is_copied_with_all_it_has(world: World) -> None:
    s3 = world.s3
    world.put("before")
    world.configure(world.rule(Filter={"Prefix": "in/"}))
    world.put("out/k")
    first = world.put("in/k", Metadata={"a": "b"}, ContentType="text/x", Tagging="t=1", CacheControl="no-store")
    second = world.put("in/k", Metadata={"a": "c"})
    upload = s3.create_multipart_upload(Bucket=world.source, Key="in/m")["UploadId"]
    part = s3.upload_part(Bucket=world.source, Key="in/m", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    whole = s3.complete_multipart_upload(Bucket=world.source, Key="in/m", UploadId=upload, MultipartUpload=parts)
    until(world.names, lambda found: len(found) == 3)
    assert world.names() == sorted([("in/k", first), ("in/k", second), ("in/m", whole["VersionId"])])
    world.status("in/k", "COMPLETED")
    assert "ReplicationStatus" not in s3.head_object(Bucket=world.source, Key="out/k")
    here = s3.get_object(Bucket=world.source, Key="in/k", VersionId=first)
    there = s3.get_object(Bucket=world.target, Key="in/k", VersionId=first)
    assert here["Body"].read() == there["Body"].read() == b"hello"
    assert there["ReplicationStatus"] == "REPLICA"
    for member in ("ETag", "LastModified", "Metadata", "ContentType", "CacheControl", "TagCount"):
        assert here[member] == there[member]
    assert s3.head_object(Bucket=world.target, Key="in/k")["VersionId"] == second
    assert s3.head_object(Bucket=world.target, Key="in/m")["ETag"] == whole["ETag"]


def test_a_source_keeps_its_versions_as_long_as_it_is_one(world: World) -> None:
    world.configure(world.rule())
    suspend = {"Bucket": world.source, "VersioningConfiguration": {"Status": "Suspended"}}
    assert code_of(world.s3.put_bucket_versioning, **suspend) == "InvalidBucketState"
    world.s3.delete_bucket_replication(Bucket=world.source)
    world.s3.put_bucket_versioning(**suspend)


def test_tags_follow_and_deletes_of_versions_do_not(world: World) -> None:
    world.configure(world.rule())
    version = world.put("k")
    world.status("k", "COMPLETED")
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    world.s3.put_object_tagging(Bucket=world.source, Key="k", Tagging=tags)
    until(lambda: world.s3.get_object_tagging(Bucket=world.target, Key="k")["TagSet"], lambda found: bool(found))
    world.s3.delete_object(Bucket=world.source, Key="k", VersionId=version)
    world.put("later")
    world.status("later", "COMPLETED")
    assert ("k", version) in world.names()


def test_annotations_follow(world: World, client: Any) -> None:
    s3 = world.s3
    kms = client("kms")
    one, other = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    selected = {"SourceSelectionCriteria": {"SseKmsEncryptedObjects": {"Status": "Enabled"}}}
    world.configure(world.rule(Destination={"EncryptionConfiguration": {"ReplicaKmsKeyID": other}}, **selected))
    world.allow("s3:*", "kms:Decrypt", "kms:Encrypt")
    world.put("plain")
    world.put("sealed", ServerSideEncryption="aws:kms", SSEKMSKeyId=one)

    def there(key: str) -> dict[str, str]:
        about = {"Bucket": world.target, "Key": key}
        try:
            listed = s3.list_object_annotations(**about).get("Annotations", ())
            found = {
                name: s3.get_object_annotation(**about, AnnotationName=name)["AnnotationPayload"].read().decode()
                for name in (one["AnnotationName"] for one in listed)
            }
        except (s3.exceptions.NoSuchKey, s3.exceptions.NoSuchAnnotation):
            return {}  # on its way
        assert all(one["ReplicationStatus"] == "REPLICA" for one in listed)
        return found

    for key in ("plain", "sealed"):
        for name, text in (("a", "first"), ("b", "b" * 50000), ("a", "second")):
            s3.put_object_annotation(Bucket=world.source, Key=key, AnnotationName=name, AnnotationPayload=text.encode())
        until(lambda key=key: there(key), lambda found: found == {"a": "second", "b": "b" * 50000})
        s3.delete_object_annotation(Bucket=world.source, Key=key, AnnotationName="a")
        until(lambda key=key: there(key), lambda found: found == {"b": "b" * 50000})
    world.allow("s3:GetObject*", "s3:GetRep*", "s3:ReplicateObject", "kms:*")
    s3.put_object_annotation(Bucket=world.source, Key="plain", AnnotationName="c", AnnotationPayload=b"late")
    world.status("plain", "FAILED")
    assert there("plain") == {"b": "b" * 50000}


@pytest.mark.parametrize("status", ["Enabled", "Disabled"])
def test_markers_follow_where_the_rule_says_so(world: World, status: str) -> None:
    world.configure(world.rule(DeleteMarkerReplication={"Status": status}))
    version = world.put("k")
    world.status("k", "COMPLETED")
    marker = world.s3.delete_object(Bucket=world.source, Key="k")["VersionId"]
    world.put("later")
    world.status("later", "COMPLETED")
    if status == "Enabled":
        until(world.names, lambda found: ("marker", marker) in found)
        assert code_of(world.s3.get_object, Bucket=world.target, Key="k") == "NoSuchKey"
        world.s3.delete_object(Bucket=world.target, Key="k", VersionId=marker)
    assert ("marker", marker) not in world.names()
    assert world.s3.head_object(Bucket=world.target, Key="k")["VersionId"] == version


def test_a_role_that_may_not_leaves_the_version_failed(world: World) -> None:
    world.allow("s3:GetReplicationConfiguration", "s3:GetObjectVersionForReplication")
    world.configure(world.rule())
    world.put("k")
    world.status("k", "FAILED")
    assert world.names() == []
    world.allow("s3:GetReplicationConfiguration", "s3:GetObjectVersionForReplication", "s3:ReplicateObject")
    world.put("k")
    world.status("k", "COMPLETED")


def test_a_change_after_the_rule_does_not_make_a_failure(world: World) -> None:
    tagged, s3 = [{"Key": "a", "Value": "b"}], world.s3
    world.configure(world.rule(Filter={"Tag": tagged[0]}))
    for key in ("k", "later"):
        world.put(key, Tagging="a=b")
        world.status(key, "COMPLETED")
    s3.delete_object_tagging(Bucket=world.source, Key="k")
    world.put("after", Tagging="a=b")  # errands are done in their order
    world.status("after", "COMPLETED")
    assert s3.head_object(Bucket=world.source, Key="k")["ReplicationStatus"] == "COMPLETED"
    assert s3.get_object_tagging(Bucket=world.target, Key="k")["TagSet"] == tagged
    world.configure(world.rule(Filter={"Prefix": "other"}))
    s3.delete_object_tagging(Bucket=world.source, Key="later")
    world.put("other")
    world.status("other", "COMPLETED")
    assert s3.head_object(Bucket=world.source, Key="later")["ReplicationStatus"] == "COMPLETED"


def test_a_failure_is_told_with_its_reason(world: World, server: Server) -> None:
    world.allow("s3:GetReplicationConfiguration", "s3:GetObjectVersionForReplication")
    world.configure(world.rule())
    wanted = {"Id": "i", "QueueArn": "arn:aws:sqs:us-east-1:000000000000:q", "Events": ["s3:Replication:*"]}
    configuration = {"QueueConfigurations": [wanted]}
    world.s3.put_bucket_notification_configuration(Bucket=world.source, NotificationConfiguration=configuration)
    world.put("untold")  # metrics must be asked for
    world.status("untold", "FAILED")
    world.configure(world.rule(Destination={"Metrics": {"Status": "Enabled"}}))
    world.put("k")
    world.status("k", "FAILED")
    events = ask(server.endpoint, "GET", f"/_nephele/events?bucket={world.source}&after=0")["events"]
    told = [one["message"]["Records"][0] for one in events if "Records" in one["message"]]
    assert [one["s3"]["object"]["key"] for one in told] == ["k"]
    record = told[0]
    assert (record["eventVersion"], record["userIdentity"]) == ("2.2", {"principalId": "s3.amazonaws.com"})
    about = record["replicationEventData"]
    assert about.pop("requestTime").endswith("Z")
    assert about == {
        "replicationRuleId": "r",
        "destinationBucket": f"arn:aws:s3:::{world.target}",
        "s3Operation": "OBJECT_PUT",
        "failureReason": "DstPutObjectNotPermitted",
    }


def test_without_the_right_to_read_tags_the_rest_is_copied(world: World) -> None:
    few = ("s3:GetReplicationConfiguration", "s3:GetObjectVersionForReplication", "s3:ReplicateObject")
    world.configure(world.rule())

    def tags(key: str) -> list[Any]:
        world.put(key, Tagging="a=b")
        world.status(key, "COMPLETED")
        found: list[Any] = world.s3.get_object_tagging(Bucket=world.target, Key=key)["TagSet"]
        return found

    world.allow(*few)
    assert tags("none") == []
    world.allow(*few, "s3:GetObjectVersionTagging")  # ReplicateObject lets tags in, too
    assert tags("read") == [{"Key": "a", "Value": "b"}]
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:ReplicateTags",
        "Resource": f"arn:aws:s3:::{world.target}/*",
    }
    world.s3.put_bucket_policy(Bucket=world.target, Policy=document(deny))
    assert tags("denied") == []


def test_locks_follow_and_defaults_of_the_destination_count(client: Any, account: str) -> None:
    world = World(client, account)
    s3, enabled = world.s3, {"ObjectLockEnabled": "Enabled"}
    s3.put_object_lock_configuration(Bucket=world.source, ObjectLockConfiguration=enabled)
    rule = {"Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 9}}}
    s3.put_object_lock_configuration(Bucket=world.target, ObjectLockConfiguration=enabled | rule)
    world.configure(world.rule())
    until_then = datetime.now(UTC).replace(microsecond=0) + timedelta(days=400)
    world.put("plain")
    world.put("own", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until_then)
    for key in ("plain", "own"):
        world.status(key, "COMPLETED")
    plain, own = (s3.head_object(Bucket=world.target, Key=key) for key in ("plain", "own"))
    assert plain["ObjectLockMode"] == "GOVERNANCE" and plain["ObjectLockRetainUntilDate"] < until_then
    assert (own["ObjectLockMode"], own["ObjectLockRetainUntilDate"]) == ("COMPLIANCE", until_then)
    s3.put_object_legal_hold(Bucket=world.source, Key="plain", LegalHold={"Status": "ON"})
    look = s3.head_object
    after = until(
        lambda: look(Bucket=world.target, Key="plain"), lambda found: found.get("ObjectLockLegalHoldStatus") == "ON"
    )
    assert after["ObjectLockRetainUntilDate"] == plain["ObjectLockRetainUntilDate"]
    assert after["ReplicationStatus"] == "REPLICA"
    world.allow("s3:GetReplicationConfiguration", "s3:GetObjectVersionForReplication", "s3:ReplicateObject")
    world.put("own", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until_then)
    world.status("own", "FAILED")  # the lock of the source may not be read


def test_two_buckets_that_replicate_to_each_other(world: World) -> None:
    s3 = world.s3
    both = {"SourceSelectionCriteria": {"ReplicaModifications": {"Status": "Enabled"}}}
    world.configure(world.rule(**both))
    back = world.rule(**both, Destination={"Bucket": f"arn:aws:s3:::{world.source}"})
    configuration = {"Role": world.role, "Rules": [back]}
    s3.put_bucket_replication(Bucket=world.target, ReplicationConfiguration=configuration)
    version = world.put("k")
    world.status("k", "COMPLETED")
    other = s3.put_object(Bucket=world.target, Key="other", Body=b"x")["VersionId"]
    until(lambda: s3.list_objects_v2(Bucket=world.source)["KeyCount"], lambda count: count == 2)
    assert world.names() == [("k", version), ("other", other)]

    def tags(bucket: str, key: str) -> Any:
        return s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]

    set_at_replica = [{"Key": "by", "Value": "replica"}]
    s3.put_object_tagging(Bucket=world.target, Key="k", Tagging={"TagSet": set_at_replica})
    until(lambda: tags(world.source, "k"), lambda found: found == set_at_replica)
    assert s3.head_object(Bucket=world.source, Key="k")["ReplicationStatus"] == "COMPLETED"
    assert s3.head_object(Bucket=world.target, Key="k")["ReplicationStatus"] == "REPLICA"
    s3.delete_object_tagging(Bucket=world.source, Key="k")
    until(lambda: tags(world.target, "k"), lambda found: found == [])
    configuration["Rules"] = [world.rule(Destination={"Bucket": f"arn:aws:s3:::{world.source}"})]
    s3.put_bucket_replication(Bucket=world.target, ReplicationConfiguration=configuration)
    s3.put_object_tagging(Bucket=world.target, Key="k", Tagging={"TagSet": set_at_replica})
    marker = s3.put_object(Bucket=world.target, Key="last", Body=b"x")["VersionId"]
    until(lambda: s3.list_object_versions(Bucket=world.source, Prefix="last").get("Versions"), bool)
    assert s3.head_object(Bucket=world.source, Key="last")["VersionId"] == marker
    assert tags(world.source, "k") == []  # replicas stay what they are made without the criterion


def test_another_account_must_let_the_role_in(client: Any, account: str) -> None:
    world = World(client, account, OTHER)
    translation = {"Account": OTHER, "AccessControlTranslation": {"Owner": "Destination"}}
    world.configure(world.rule(Destination=translation | {"StorageClass": "STANDARD_IA"}))
    world.put("k")
    world.status("k", "FAILED")
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": world.role},
        "Action": ["s3:ReplicateObject", "s3:ObjectOwnerOverrideToBucketOwner"],
        "Resource": f"arn:aws:s3:::{world.target}/*",
    }
    world.there.put_bucket_policy(Bucket=world.target, Policy=document(statement))
    world.put("k")
    world.status("k", "COMPLETED")
    about = world.there.head_object(Bucket=world.target, Key="k")
    assert about["StorageClass"] == "STANDARD_IA"


def test_the_rule_of_highest_priority_counts(world: World) -> None:
    low = world.rule(ID="low", Destination={"StorageClass": "ONEZONE_IA"})
    high = world.rule(ID="high", Priority=9, Filter={"Prefix": "a"}, Destination={"StorageClass": "STANDARD_IA"})
    world.configure(low, high)
    for key in ("a", "b"):
        world.put(key)
        world.status(key, "COMPLETED")
    found = [world.s3.head_object(Bucket=world.target, Key=key)["StorageClass"] for key in ("a", "b")]
    assert found == ["STANDARD_IA", "ONEZONE_IA"]


def test_objects_under_kms_are_copied_where_the_rule_selects_them(world: World, client: Any) -> None:
    kms = client("kms")
    one, other = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    world.configure(world.rule())
    sealed = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": one}
    world.put("left", **sealed)
    assert "ReplicationStatus" not in world.s3.head_object(Bucket=world.source, Key="left")
    selected = {"SourceSelectionCriteria": {"SseKmsEncryptedObjects": {"Status": "Enabled"}}}
    world.configure(world.rule(Destination={"EncryptionConfiguration": {"ReplicaKmsKeyID": other}}, **selected))
    world.put("k", **sealed)
    world.status("k", "FAILED")
    world.allow("s3:*", "kms:Decrypt", "kms:Encrypt")
    world.put("k", **sealed)
    world.status("k", "COMPLETED")
    replica = world.s3.get_object(Bucket=world.target, Key="k")
    assert (replica["Body"].read(), replica["SSEKMSKeyId"]) == (b"hello", other)
    brought = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    version = world.put("own", **brought)
    look = {"Bucket": world.source, "Key": "own"} | brought
    until(lambda: world.s3.head_object(**look)["ReplicationStatus"], lambda found: found == "COMPLETED")
    found = world.s3.get_object(Bucket=world.target, Key="own", VersionId=version, **brought)
    assert found["Body"].read() == b"hello"


def test_what_is_no_configuration_is_refused(world: World, server: Server) -> None:
    def refusal(*rules: dict[str, Any], role: str | None = None) -> str:
        configuration = {"Role": role or world.role, "Rules": list(rules)}
        return code_of(world.s3.put_bucket_replication, Bucket=world.source, ReplicationConfiguration=configuration)

    right = world.rule()
    assert refusal() == "MalformedXML"
    assert refusal(right | {"Status": "on"}) == "MalformedXML"
    assert refusal(right, role="no role") == "InvalidArgument"
    assert refusal({name: value for name, value in right.items() if name != "Priority"}) == "InvalidRequest"
    unmarked = {name: value for name, value in right.items() if name != "DeleteMarkerReplication"}
    assert refusal(unmarked) == "InvalidRequest"
    assert refusal(right, right | {"ID": "other"}) == "InvalidRequest"
    assert refusal(right, right | {"Priority": 2}) == "InvalidArgument"
    assert refusal(right | {"Filter": {"Prefix": "a", "Tag": {"Key": "a", "Value": "b"}}}) == "MalformedXML"
    tagged = {"Filter": {"Tag": {"Key": "a", "Value": "b"}}, "DeleteMarkerReplication": {"Status": "Enabled"}}
    assert refusal(right | tagged) == "InvalidRequest"
    assert refusal(world.rule(Destination={"Bucket": f"arn:aws:s3:::{world.source}"})) == "InvalidRequest"
    assert refusal(world.rule(Destination={"Bucket": "arn:aws:s3:::there-is-none"})) == "InvalidRequest"
    assert refusal(world.rule(Destination={"Bucket": world.target})) == "InvalidArgument"
    named = {"EncryptionConfiguration": {"ReplicaKmsKeyID": "k"}}
    assert refusal(world.rule(Destination=named)) == "InvalidRequest"
    plain = make_bucket(world.s3)
    assert refusal(world.rule(Destination={"Bucket": f"arn:aws:s3:::{plain}"})) == "InvalidRequest"
    promised = {"ReplicationTime": {"Status": "Enabled", "Time": {"Minutes": 15}}}
    assert refusal(world.rule(Destination=promised)) == "InvalidRequest"
    metrics = {"Metrics": {"Status": "Enabled", "EventThreshold": {"Minutes": 20}}}
    assert refusal(world.rule(Destination=metrics)) == "InvalidRequest"
    metrics["Metrics"]["EventThreshold"] = {"Minutes": 15}
    world.configure(world.rule(Destination=promised | metrics))
    kept = world.s3.get_bucket_replication(Bucket=world.source)["ReplicationConfiguration"]["Rules"][0]["Destination"]
    assert (kept["ReplicationTime"], kept["Metrics"]) == (promised["ReplicationTime"], metrics["Metrics"])
    owner = {"AccessControlTranslation": {"Owner": "Destination"}}
    assert refusal(world.rule(Destination=owner)) == "InvalidRequest"
