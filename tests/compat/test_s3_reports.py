"""Configurations with ids, which are checked as S3 does, and kept."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.s3_worlds import code_of, make_bucket
from tests.server import Server

pytestmark = pytest.mark.embedded
TAG = {"Key": "a", "Value": "b"}


@pytest.fixture
def s3(server: Server, account: str) -> Any:
    return new_client(server.endpoint, "s3", account)


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3)


@pytest.mark.parametrize(
    ("tiers", "code"),
    [
        ([("ARCHIVE_ACCESS", 89)], "InvalidArgument"),
        ([("DEEP_ARCHIVE_ACCESS", 179)], "InvalidArgument"),
        ([("ARCHIVE_ACCESS", 731)], "InvalidArgument"),
        ([("COLD", 100)], "MalformedXML"),
        ([("ARCHIVE_ACCESS", 90), ("ARCHIVE_ACCESS", 91)], "MalformedXML"),
        ([("ARCHIVE_ACCESS", 200), ("DEEP_ARCHIVE_ACCESS", 200)], "InvalidArgument"),
        ([("ARCHIVE_ACCESS", 90), ("DEEP_ARCHIVE_ACCESS", 180)], None),
    ],
)
def test_tiers_have_their_days(s3: Any, bucket: str, tiers: list[tuple[str, int]], code: str | None) -> None:
    listed = [{"AccessTier": tier, "Days": days} for tier, days in tiers]
    document = {"Id": "t", "Status": "Enabled", "Tierings": listed}
    put = {"Bucket": bucket, "Id": "t", "IntelligentTieringConfiguration": document}
    if code is not None:
        assert code_of(s3.put_bucket_intelligent_tiering_configuration, **put) == code
        return
    s3.put_bucket_intelligent_tiering_configuration(**put)
    kept = s3.get_bucket_intelligent_tiering_configuration(Bucket=bucket, Id="t")
    assert kept["IntelligentTieringConfiguration"] == document


def test_a_filter_is_one_thing(s3: Any, bucket: str) -> None:
    document = {"Id": "m", "Filter": {"Prefix": "a", "Tag": TAG}}
    put = {"Bucket": bucket, "Id": "m", "MetricsConfiguration": document}
    assert code_of(s3.put_bucket_metrics_configuration, **put) == "MalformedXML"
    document["Filter"] = {"And": {"Prefix": "a", "Tags": [TAG]}}
    s3.put_bucket_metrics_configuration(**put)
    assert s3.get_bucket_metrics_configuration(Bucket=bucket, Id="m")["MetricsConfiguration"] == document


def test_the_export_of_an_analysis(s3: Any, bucket: str) -> None:
    target = {"Format": "CSV", "Bucket": f"arn:aws:s3:::{bucket}"}
    export: dict[str, Any] = {"OutputSchemaVersion": "V_2", "Destination": {"S3BucketDestination": target}}
    document = {"Id": "a", "StorageClassAnalysis": {"DataExport": export}}
    put = {"Bucket": bucket, "Id": "a", "AnalyticsConfiguration": document}
    assert code_of(s3.put_bucket_analytics_configuration, **put) == "MalformedXML"
    export["OutputSchemaVersion"], target["Bucket"] = "V_1", bucket
    assert code_of(s3.put_bucket_analytics_configuration, **put) == "InvalidS3DestinationBucket"
    target["Bucket"] = f"arn:aws:s3:::{bucket}"
    s3.put_bucket_analytics_configuration(**put)
    assert s3.get_bucket_analytics_configuration(Bucket=bucket, Id="a")["AnalyticsConfiguration"] == document


def test_configurations_come_in_pages_by_id(s3: Any, bucket: str) -> None:
    for number in range(101):
        id = f"id-{(number * 37) % 101:03}"
        s3.put_bucket_metrics_configuration(Bucket=bucket, Id=id, MetricsConfiguration={"Id": id})
    s3.put_bucket_metrics_configuration(
        Bucket=bucket, Id="id-007", MetricsConfiguration={"Id": "id-007", "Filter": {"Prefix": "p"}}
    )
    first = s3.list_bucket_metrics_configurations(Bucket=bucket)
    rest = s3.list_bucket_metrics_configurations(Bucket=bucket, ContinuationToken=first["NextContinuationToken"])
    listed = first["MetricsConfigurationList"] + rest["MetricsConfigurationList"]
    assert [one["Id"] for one in listed] == [f"id-{number:03}" for number in range(101)]
    assert (first["IsTruncated"], rest["IsTruncated"], len(rest["MetricsConfigurationList"])) == (True, False, 1)
    assert listed[7]["Filter"] == {"Prefix": "p"}
    s3.delete_bucket_metrics_configuration(Bucket=bucket, Id="id-007")
    assert code_of(s3.get_bucket_metrics_configuration, Bucket=bucket, Id="id-007") == "NoSuchConfiguration"
    assert code_of(s3.delete_bucket_metrics_configuration, Bucket=bucket, Id="id-007") == "NoSuchConfiguration"
