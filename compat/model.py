"""AWS's own description of its services: botocore's service models, loaded when first needed and kept.

A model is read through botocore's loader and never through a client, because a client changes what it reads. Texts for
people (the `documentation` members) are dropped while reading, and equal references share one dictionary: what stays
of the EC2 model is about 7 MiB.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from botocore.exceptions import DataNotFoundError
from botocore.loaders import JSONFileLoader, Loader
from botocore.model import OperationModel, OperationNotFoundError, ServiceModel

_BOTOCORE_CHOICE = ("json", "rest-json", "rest-xml", "smithy-rpc-v2-cbor", "query", "ec2")


@dataclass(frozen=True)
class Service:
    """What must be known of a service before its model is loaded. The tests hold every literal against the model."""

    name: str
    """botocore's name of the service."""
    scope: str
    """The service's name in a credential scope."""
    prefix: str
    """The service's name in IAM actions: `prefix:Operation`."""
    host: str
    """The first label of the service's own host names."""
    target: str = ""
    """What stands before the dot in `X-Amz-Target`, and in the path of smithy-rpc-v2; empty where neither is spoken."""

    @cached_property
    def model(self) -> ServiceModel:
        """The service model, loaded at the first use."""
        return service_model(self.name)

    @cached_property
    def protocols(self) -> tuple[str, ...]:
        """Every wire protocol that the service speaks, the one that botocore picks first."""
        spoken = self.model.metadata.get("protocols") or [self.model.metadata["protocol"]]
        return tuple(sorted(spoken, key=_BOTOCORE_CHOICE.index))

    @cached_property
    def protocol(self) -> str:
        """The protocol that botocore's clients pick."""
        return self.protocols[0]

    @cached_property
    def namespace(self) -> str:
        """The XML namespace of answers, empty for services that do not speak XML."""
        namespace = str(self.model.metadata.get("xmlNamespace", ""))
        return namespace + "/" if self.name == "ec2" else namespace

    @cached_property
    def api_version(self) -> str:
        """The dated version of the API, as `Version` in a query request names it."""
        return str(self.model.metadata["apiVersion"])


SERVICES: dict[str, Service] = {
    service.name: service
    for service in (
        Service("iam", "iam", "iam", "iam"),
        Service("sts", "sts", "sts", "sts"),
        Service("s3", "s3", "s3", "s3"),
        Service("s3control", "s3", "s3", "s3-control"),
        Service("ec2", "ec2", "ec2", "ec2"),
        Service("ebs", "ebs", "ebs", "ebs"),
        Service("kms", "kms", "kms", "kms", "TrentService"),
        Service("ssm", "ssm", "ssm", "ssm", "AmazonSSM"),
        Service("cloudwatch", "monitoring", "cloudwatch", "monitoring", "GraniteServiceVersion20100801"),
        Service("cloudformation", "cloudformation", "cloudformation", "cloudformation"),
        Service("elbv2", "elasticloadbalancing", "elasticloadbalancing", "elasticloadbalancing"),
        Service("autoscaling", "autoscaling", "autoscaling", "autoscaling"),
        Service("resourcegroupstaggingapi", "tagging", "tag", "tagging", "ResourceGroupsTaggingAPI_20170126"),
        Service("logs", "logs", "logs", "logs", "Logs_20140328"),
    )
}
"""Every service that is spoken here, by botocore's name."""


class _TerseFileLoader(JSONFileLoader):
    """Reads a model without its texts, sharing equal references."""

    def _load_file(self, full_path: str, open_method: Callable[..., Any]) -> Any:
        try:
            with open_method(full_path, "rb") as file:
                payload = file.read()
        except FileNotFoundError:
            return None
        references: dict[str, dict[str, Any]] = {}

        def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            found = dict(pairs)
            if isinstance(found.get("documentation"), str):
                del found["documentation"]
            if len(found) == 1 and isinstance(found.get("shape"), str):
                return references.setdefault(found["shape"], found)
            return found

        return json.loads(payload, object_pairs_hook=keep)


@cache
def service_model(name: str) -> ServiceModel:
    """The model of a service by botocore's name. Raises KeyError for a service that is not spoken here."""
    if name not in SERVICES:
        raise KeyError(name)
    loader = Loader(file_loader=_TerseFileLoader())
    try:
        description = loader.load_service_model(name, "service-2")
    except DataNotFoundError as fault:
        raise KeyError(name) from fault
    return ServiceModel(description, name)


@cache
def operation_model(service: str, operation: str) -> OperationModel | None:
    """The model of an operation, or None when AWS has no operation of that name in the service."""
    try:
        return service_model(service).operation_model(operation)
    except OperationNotFoundError:
        return None


@cache
def operation_names(service: str) -> frozenset[str]:
    """The names of all operations that AWS knows in the service."""
    return frozenset(service_model(service).operation_names)
