"""Signature version 2 of forms, as old clients of EC2 send it."""

from __future__ import annotations

import time
from typing import Any
from unittest import mock

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.authenticated import Lookup
from gateway.head import Head
from gateway.signature_faults import Family, Fault, SignatureFault, as_error
from gateway.sigv4 import authenticate
from tests.unit.signing import KEY, NOW, SECRET, known, temporary

NAMES = st.text("AZaz09.-_é /", min_size=1, max_size=12)


def signed(fields: dict[str, str], method: str = "POST", token: str | None = None, secret: str = SECRET) -> Any:
    """A form with the fields that botocore's signer adds."""
    request = AWSRequest(method=method, url="http://localhost:4566/", data=dict(fields))
    moment = time.gmtime(NOW.timestamp())
    with mock.patch("botocore.auth.time.gmtime", lambda: moment):
        auth.SigV2Auth(Credentials(KEY, secret, token)).add_auth(request)
    return request.data


def head(method: str = "POST") -> Head:
    return Head(method, b"/", b"", [(b"host", b"localhost:4566")])


def fault(form: dict[str, str], lookup: Lookup = known) -> SignatureFault:
    with pytest.raises(SignatureFault) as caught:
        authenticate(head(), lookup, NOW, service="ec2", form=form)
    return caught.value


@settings(max_examples=50)
@given(st.dictionaries(NAMES, st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=4))
def test_what_is_signed_passes_and_what_is_changed_does_not(more: dict[str, str]) -> None:
    form = signed({"Action": "DescribeImages", "Version": "2016-11-15", **more})
    found = authenticate(head(), known, NOW, service="ec2", form=form)
    assert found is not None
    assert (found.access_key, found.version, found.service, found.signed_at) == (KEY, "AWS", "ec2", NOW)
    assert fault({**form, "Action": "TerminateInstances"}).kind is Fault.MISMATCH
    assert fault({**form, "Another": ""}).kind is Fault.MISMATCH


def test_the_method_is_signed() -> None:
    form = signed({"Action": "DescribeImages"}, "GET")
    assert authenticate(head("GET"), known, NOW, form=form) is not None
    assert fault(form).kind is Fault.MISMATCH


def test_session_tokens_and_keys() -> None:
    form = signed({"Action": "DescribeImages"}, token="token/+=")
    assert authenticate(head(), temporary, NOW, form=form) is not None
    assert fault(signed({"Action": "DescribeImages"}), temporary).kind is Fault.UNKNOWN_KEY
    assert fault(form, lambda key: None).kind is Fault.UNKNOWN_KEY
    assert as_error(fault(signed({"Action": "DescribeImages"}, secret="another")), Family.EC2).code == "AuthFailure"


@pytest.mark.parametrize(
    "changed, kind",
    [
        ({"SignatureVersion": "1"}, Fault.UNSUPPORTED),
        ({"SignatureMethod": "HmacMD5"}, Fault.UNSUPPORTED),
        ({"Timestamp": "yesterday"}, Fault.NO_DATE),
        ({"Timestamp": ""}, Fault.NO_DATE),
        ({"Timestamp": "2026-11-22T12:00:00Z"}, Fault.SKEWED),
    ],
)
def test_claims_that_do_not_hold(changed: dict[str, str], kind: Fault) -> None:
    found = fault({**signed({"Action": "DescribeImages"}), **changed})
    assert found.kind is kind
    assert as_error(found, Family.EC2).status == 400


def test_a_request_may_say_when_it_ends() -> None:
    form = signed({"Action": "DescribeImages", "Expires": "2026-11-22T12:00:00Z"})
    del form["Timestamp"]
    assert fault(form).kind is Fault.EXPIRED
