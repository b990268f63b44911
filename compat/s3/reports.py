"""Configurations of which a bucket may have many, each with an id: inventories, analyses, metrics, tiers."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from botocore.model import StringShape

from compat.errors import AWSError
from compat.model import service_model
from compat.s3 import faults
from compat.s3.documents import named

Document = dict[str, Any]
LEAST_DAYS = {"ARCHIVE_ACCESS": 90, "DEEP_ARCHIVE_ACCESS": 180}
MOST_DAYS = 730
_METRICS_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BUCKET = re.compile("arn:[a-z-]+:s3:::[a-z0-9.-]+")


def _one_of(value: Any, allowed: Collection[Any]) -> None:
    if value not in allowed:
        raise faults.malformed()


def _check_target(destination: Document | None, formats: Collection[str]) -> None:
    """A report's bucket and format."""
    target = (destination or {}).get("S3BucketDestination") or {}
    if not _BUCKET.fullmatch(target.get("Bucket") or ""):
        raise AWSError("InvalidS3DestinationBucket", "Invalid bucket ARN.", 400)
    _one_of(target.get("Format"), formats)


def _check_filter(document: Document) -> None:
    """A filter is one thing, or several joined by `And`."""
    given = document.get("Filter")
    if given is not None and len([one for one in given.values() if one is not None]) != 1:
        raise faults.malformed()


def _check_metrics(document: Document) -> None:
    _check_filter(document)
    if not _METRICS_ID.fullmatch(document["Id"]):
        raise faults.invalid_argument("The configuration id is not valid", "id", document["Id"])


def _check_inventory(document: Document) -> None:
    _check_target(document.get("Destination"), ("CSV", "ORC", "Parquet"))
    _one_of((document.get("Schedule") or {}).get("Frequency"), ("Daily", "Weekly"))
    _one_of(document.get("IncludedObjectVersions"), ("All", "Current"))
    known = service_model("s3").shape_for("InventoryOptionalField")
    assert isinstance(known, StringShape)
    for field in document.get("OptionalFields") or ():
        _one_of(field, known.enum)


def _check_analytics(document: Document) -> None:
    _check_filter(document)
    export = (document.get("StorageClassAnalysis") or {}).get("DataExport")
    if export is not None:
        _one_of(export.get("OutputSchemaVersion"), ("V_1",))
        _check_target(export.get("Destination"), ("CSV",))


def _check_tiers(document: Document) -> None:
    _check_filter(document)
    _one_of(document.get("Status"), ("Enabled", "Disabled"))
    days: dict[str, int] = {}
    for tier in document.get("Tierings") or ():
        name, after = tier.get("AccessTier"), tier.get("Days") or 0
        _one_of(name, LEAST_DAYS)
        if name in days:
            raise faults.malformed()
        if not LEAST_DAYS[name] <= after <= MOST_DAYS:
            raise faults.invalid_argument(
                f"The number of days of {name} must be between {LEAST_DAYS[name]} and {MOST_DAYS}", "Days", after
            )
        days[name] = after
    if len(days) == len(LEAST_DAYS) and days["DEEP_ARCHIVE_ACCESS"] <= days["ARCHIVE_ACCESS"]:
        raise faults.invalid_argument("The days of DEEP_ARCHIVE_ACCESS must be more than those of ARCHIVE_ACCESS")


named(
    (
        "s3:PutBucketInventoryConfiguration",
        "s3:GetBucketInventoryConfiguration",
        "s3:DeleteBucketInventoryConfiguration",
        "s3:ListBucketInventoryConfigurations",
    ),
    "InventoryConfiguration",
    _check_inventory,
)
named(
    (
        "s3:PutBucketAnalyticsConfiguration",
        "s3:GetBucketAnalyticsConfiguration",
        "s3:DeleteBucketAnalyticsConfiguration",
        "s3:ListBucketAnalyticsConfigurations",
    ),
    "AnalyticsConfiguration",
    _check_analytics,
)
named(
    (
        "s3:PutBucketMetricsConfiguration",
        "s3:GetBucketMetricsConfiguration",
        "s3:DeleteBucketMetricsConfiguration",
        "s3:ListBucketMetricsConfigurations",
    ),
    "MetricsConfiguration",
    _check_metrics,
)
named(
    (
        "s3:PutBucketIntelligentTieringConfiguration",
        "s3:GetBucketIntelligentTieringConfiguration",
        "s3:DeleteBucketIntelligentTieringConfiguration",
        "s3:ListBucketIntelligentTieringConfigurations",
    ),
    "IntelligentTieringConfiguration",
    _check_tiers,
)
