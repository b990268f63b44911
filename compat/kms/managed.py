"""Keys that AWS manages for an account: `alias/aws/s3` and the like, made when somebody first means one."""

from __future__ import annotations

import json
import os
import uuid
from typing import TYPE_CHECKING

from backends.db import Scope, Unit
from backends.keys.models import MasterKey
from backends.keys.ring import KeyRing, Known
from backends.keys.service import KeyService
from compat.kms.specs import ENCRYPT

if TYPE_CHECKING:
    from compat.cloud import Cloud

PREFIX = "alias/aws/"
YEAR = 365
SERVICES = {
    "s3": ("s3", "Default key that protects my S3 objects when no other key is defined"),
    "ebs": ("ec2", "Default key that protects my EBS volumes when no other key is defined"),
    "ssm": ("ssm", "Default key that protects my SSM parameters when no other key is defined"),
}
"""What stands behind `alias/aws/` → the service that uses the key, and the key's description."""
_USE = ("Encrypt", "Decrypt", "ReEncrypt*", "GenerateDataKey*")


def make(cloud: Cloud, account: str, region: str, alias: str, partition: str) -> Known | None:
    """The managed key of that alias, made now if need be; None when AWS has no such. No write unit may be open."""
    if alias.removeprefix(PREFIX) not in SERVICES or not alias.startswith(PREFIX):
        return None
    ring: KeyRing = cloud.hosts["keys"]
    with cloud.database.unit(Scope(account, region), write=True) as unit:
        made = ensure(unit, cloud, account, region, alias.removeprefix(PREFIX), partition)
        unit.session.flush()
        return ring.learn(unit.session, made)  # in a batch, the commit is still to come


def ensure(unit: Unit, cloud: Cloud, account: str, region: str, name: str, partition: str) -> MasterKey:
    """The managed key of a service, made in the open unit of work if need be."""
    service: KeyService = cloud.services["keys"](unit)
    alias = PREFIX + name
    for row in service.names_of(account, region):
        if row.name == alias:
            return service.get(row.key)
    key = service.add(
        str(uuid.uuid4()),
        tenant=account,
        region=region,
        spec="SYMMETRIC",
        purpose=ENCRYPT,
        rules=_policy(account, region, name, partition),
        secret=os.urandom(32),
        keeper=name,
        note=SERVICES[name][1],
    )
    service.turn_by_itself(key, YEAR)
    service.add_name(key, alias)
    return key


def _policy(account: str, region: str, name: str, partition: str) -> str:
    """Whoever may use the service in the account may use the key through it, and nobody otherwise."""
    service = SERVICES[name][0]
    suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    through = {"kms:CallerAccount": account, "kms:ViaService": f"{service}.{region}.{suffix}"}
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Id": f"auto-{name}-2",
            "Statement": [
                {
                    "Sid": f"Allow access through {name.upper()} for all principals in the account that are authorized "
                    f"to use {name.upper()}",
                    "Effect": "Allow",
                    "Principal": {"AWS": "*"},
                    "Action": [f"kms:{one}" for one in (*_USE, "DescribeKey")]
                    + (["kms:CreateGrant"] if name == "ebs" else []),
                    "Resource": "*",
                    "Condition": {"StringEquals": through},
                },
                {
                    "Sid": "Allow direct access to key metadata to the account",
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
                    "Action": ["kms:Describe*", "kms:Get*", "kms:List*"],
                    "Resource": "*",
                },
            ],
        }
    )
