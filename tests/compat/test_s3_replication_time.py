"""Replication that comes later than S3 Replication Time Control promises, and what is told of it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from tests.compat.conftest import new_client
from tests.compat.passing import advance, ask
from tests.compat.test_engine_apart import Engine
from tests.compat.test_s3_replication import World
from tests.server import Server

ACCOUNT = "123456789012"
MEASURED = {"Metrics": {"Status": "Enabled", "EventThreshold": {"Minutes": 15}}}
TIMED = MEASURED | {"ReplicationTime": {"Status": "Enabled", "Time": {"Minutes": 15}}}


def test_replicas_that_are_late(tmp_path: Path) -> None:
    with Server(tmp_path / "data", "--no-engine") as server:

        def client(service: str) -> Any:
            return new_client(server.endpoint, service, ACCOUNT)

        world = World(client, ACCOUNT)
        wanted = {"Id": "i", "QueueArn": "arn:aws:sqs:us-east-1:000000000000:q", "Events": ["s3:Replication:*"]}
        world.s3.put_bucket_notification_configuration(
            Bucket=world.source, NotificationConfiguration={"QueueConfigurations": [wanted]}
        )
        for key, about in (("timed", TIMED), ("measured", MEASURED), ("plain", {})):
            world.configure(world.rule(Destination=about, ID=key))
            world.put(key)
        world.configure(
            *(
                world.rule(Destination=about, ID=key, Filter={"Prefix": key}, Priority=number)
                for number, (key, about) in enumerate((("timed", TIMED), ("measured", MEASURED), ("plain", {})))
            )
        )
        advance(server.endpoint, 16 * 60)
        world.put("timed-later")
        engine = Engine(server.data)
        try:
            for key in ("timed", "measured", "plain", "timed-later"):
                world.status(key, "COMPLETED")
        finally:
            engine.end(signal.SIGTERM)
        told = ask(server.endpoint, "GET", f"/_nephele/events?bucket={world.source}&after=0")["events"]
        records = [one["message"]["Records"][0] for one in told if "Records" in one["message"]]
        assert [(one["eventName"], one["s3"]["object"]["key"]) for one in records] == [
            ("Replication:OperationMissedThreshold", "timed"),
            ("Replication:OperationReplicatedAfterThreshold", "timed"),
        ]
        about = records[0]["replicationEventData"]
        assert about.pop("requestTime").endswith("Z")
        assert about == {
            "replicationRuleId": "timed",
            "destinationBucket": f"arn:aws:s3:::{world.target}",
            "s3Operation": "OBJECT_PUT",
        }
