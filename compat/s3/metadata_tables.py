"""S3 Metadata: which tables a bucket would feed. Kept as records: there is no S3 Tables service to write rows into.

The second form of the configuration (journal, inventory and annotation tables in the table bucket that AWS manages) and
the first one (one table in a table bucket of one's own) exclude each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.object.containers import Known
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3 import faults
from compat.s3.documents import keep
from compat.s3.places import bucket_of

if TYPE_CHECKING:
    from compat.context import Context

SECOND, FIRST = "metadata", "metadata-table"
SHORTEST_EXPIRY, LONGEST_EXPIRY = 7, 2147483647
STATES = ("ENABLED", "DISABLED")
ACTIVE = "ACTIVE"
CREATE, READ, DELETE = (f"s3:{verb}BucketMetadataTableConfiguration" for verb in ("Create", "Get", "Delete"))


def _absent(bucket: Known) -> AWSError:
    return AWSError(
        "MetadataConfigurationNotFound", "The metadata configuration was not found", 404, BucketName=bucket.name
    )


def _kept(bucket: Known, kind: str) -> dict[str, Any]:
    found = bucket.documents.get(kind)
    if found is None:
        raise _absent(bucket)
    return dict(found)


def _refuse_second(bucket: Known) -> None:
    if SECOND in bucket.documents or FIRST in bucket.documents:
        raise AWSError(
            "MetadataConfigurationAlreadyExists",
            "A metadata configuration already exists for this bucket",
            409,
            BucketName=bucket.name,
        )


def _check_expiry(table: dict[str, Any]) -> None:
    expiry = table.get("RecordExpiration") or {}
    if expiry.get("Expiration") not in STATES:
        raise faults.malformed()
    days = expiry.get("Days")
    if expiry["Expiration"] == "ENABLED" and (days is None or not SHORTEST_EXPIRY <= days <= LONGEST_EXPIRY):
        raise faults.invalid_request(
            f"Days must be between {SHORTEST_EXPIRY} and {LONGEST_EXPIRY} when record expiration is enabled."
        )
    if expiry["Expiration"] == "DISABLED" and days is not None:
        raise faults.invalid_request("Days must not be specified when record expiration is disabled.")


def _check_state(table: dict[str, Any]) -> None:
    if table.get("ConfigurationState") not in STATES:
        raise faults.malformed()


def _check_key(table: dict[str, Any]) -> None:
    encryption = table.get("EncryptionConfiguration")
    if encryption is None:
        return
    kind, key = encryption.get("SseAlgorithm"), encryption.get("KmsKeyArn")
    if kind not in ("aws:kms", "AES256"):
        raise faults.malformed()
    if (kind == "aws:kms") != (key is not None):
        raise faults.invalid_request("A KMS key ARN is required with aws:kms, and not allowed with AES256.")


@operation("s3:CreateBucketMetadataConfiguration", on="{Bucket}", action=CREATE)
def create_bucket_metadata_configuration(ctx: Context, p: Params) -> None:
    bucket, document = bucket_of(ctx, p), dict(p["MetadataConfiguration"])
    _refuse_second(bucket)
    _check_expiry(document.get("JournalTableConfiguration") or {})
    for name in ("InventoryTableConfiguration", "AnnotationTableConfiguration"):
        if (table := document.get(name)) is not None:
            _check_state(table)
    for table in document.values():
        _check_key(table)
    keep(ctx, bucket, SECOND, document)


@operation("s3:GetBucketMetadataConfiguration", on="{Bucket}", action=READ, streams=True)
def get_bucket_metadata_configuration(ctx: Context, p: Params) -> Result:
    bucket = bucket_of(ctx, p)
    document = _kept(bucket, SECOND)
    space = f"b_{bucket.name}"
    holder = f"arn:{ctx.partition}:s3tables:{bucket.region}:{bucket.tenant}:bucket/aws-s3"

    def table(name: str) -> dict[str, Any]:
        return {"TableName": name, "TableArn": f"{holder}/table/{space}.{name}", "TableStatus": ACTIVE}

    shown: dict[str, Any] = {
        "DestinationResult": {"TableBucketType": "aws", "TableBucketArn": holder, "TableNamespace": space},
        "JournalTableConfigurationResult": {
            **table("journal"),
            "RecordExpiration": document["JournalTableConfiguration"]["RecordExpiration"],
        },
    }
    for kind in ("Inventory", "Annotation"):
        kept = document.get(f"{kind}TableConfiguration")
        about: dict[str, Any] = {"ConfigurationState": "DISABLED" if kept is None else kept["ConfigurationState"]}
        if about["ConfigurationState"] == "ENABLED":
            about |= table(kind.lower())
        if kept is not None and kept.get("Role"):
            about["Role"] = kept["Role"]
        if kept is not None or kind == "Inventory":
            shown[f"{kind}TableConfigurationResult"] = about
    return {"GetBucketMetadataConfigurationResult": {"MetadataConfigurationResult": shown}}


@operation("s3:DeleteBucketMetadataConfiguration", on="{Bucket}", action=DELETE)
def delete_bucket_metadata_configuration(ctx: Context, p: Params) -> None:
    bucket = bucket_of(ctx, p)
    _kept(bucket, SECOND)
    ctx.containers.drop_document(bucket.name, SECOND)


def _updates(kind: str, check: Any) -> None:
    """`UpdateBucketMetadata…TableConfiguration`: replaces one table's part of the second form."""
    member = f"{kind}TableConfiguration"

    def update(ctx: Context, p: Params) -> None:
        bucket = bucket_of(ctx, p)
        document, part = _kept(bucket, SECOND), p[member]
        check(part)
        _check_key(part)
        keep(ctx, bucket, SECOND, {**document, member: {**document.get(member, {}), **part}})

    operation(f"s3:UpdateBucketMetadata{member}", on="{Bucket}")(update)


_updates("Journal", _check_expiry)
_updates("Inventory", _check_state)
_updates("Annotation", _check_state)


@operation("s3:CreateBucketMetadataTableConfiguration", on="{Bucket}", action=CREATE)
def create_bucket_metadata_table_configuration(ctx: Context, p: Params) -> None:
    bucket, document = bucket_of(ctx, p), p["MetadataTableConfiguration"]
    _refuse_second(bucket)
    target = document["S3TablesDestination"]
    if not target["TableBucketArn"].startswith(f"arn:{ctx.partition}:s3tables:{bucket.region}:"):
        raise faults.invalid_request("The table bucket must be in the same Region as the general purpose bucket.")
    keep(ctx, bucket, FIRST, document)


@operation("s3:GetBucketMetadataTableConfiguration", on="{Bucket}", action=READ, streams=True)
def get_bucket_metadata_table_configuration(ctx: Context, p: Params) -> Result:
    target = _kept(bucket_of(ctx, p), FIRST)["S3TablesDestination"]
    space = "aws_s3_metadata"
    shown = {
        **target,
        "TableArn": f"{target['TableBucketArn']}/table/{space}.{target['TableName']}",
        "TableNamespace": space,
    }
    about = {"MetadataTableConfigurationResult": {"S3TablesDestinationResult": shown}, "Status": ACTIVE}
    return {"GetBucketMetadataTableConfigurationResult": about}


@operation("s3:DeleteBucketMetadataTableConfiguration", on="{Bucket}", action=DELETE)
def delete_bucket_metadata_table_configuration(ctx: Context, p: Params) -> None:
    bucket = bucket_of(ctx, p)
    _kept(bucket, FIRST)
    ctx.containers.drop_document(bucket.name, FIRST)
