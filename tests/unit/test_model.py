"""What is said of services before their models are read must be what the models say."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from botocore.loaders import Loader

from compat.model import SERVICES, Service, operation_model, operation_names, service_model

ALL = list(SERVICES.values())


@pytest.mark.parametrize("service", ALL, ids=lambda service: service.name)
def test_literals_agree_with_the_model(service: Service) -> None:
    model = service_model(service.name)
    assert service.scope == model.signing_name
    assert service.host == model.endpoint_prefix
    assert service.target == model.metadata.get("targetPrefix", "")
    assert service.protocol == model.resolved_protocol
    assert service.api_version == model.api_version


@pytest.mark.parametrize("service", ALL, ids=lambda service: service.name)
def test_nothing_but_texts_is_missing(service: Service) -> None:
    plain = Loader().load_service_model(service.name, "service-2")
    ours = service_model(service.name)._service_description  # type: ignore[attr-defined]

    def without_texts(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: without_texts(each)
                for key, each in value.items()
                if key != "documentation" or not isinstance(each, str)
            }
        return [without_texts(each) for each in value] if isinstance(value, list) else value

    assert without_texts(plain) == ours
    gc.collect()


def test_unknown_names() -> None:
    assert operation_model("ec2", "MakeCoffee") is None
    assert "MakeCoffee" not in operation_names("ec2") and "RunInstances" in operation_names("ec2")
    with pytest.raises(KeyError):
        service_model("dynamodb")


def test_models_are_kept() -> None:
    assert service_model("sts") is service_model("sts")
    assert operation_model("sts", "AssumeRole") is operation_model("sts", "AssumeRole")


def test_the_namespace_of_ec2_ends_in_a_slash_as_on_the_wire() -> None:
    assert SERVICES["ec2"].namespace == "http://ec2.amazonaws.com/doc/2016-11-15/"
