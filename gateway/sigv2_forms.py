"""Signature version 2 of the query services, for old clients: EC2's and their like in Apache Libcloud, boto 2.

The fields of the form (or of the query) carry the key, the time and the signature themselves; all the others are signed
with the method, the host and the path (AWS General Reference, "Signature Version 2 signing process").
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from gateway.authenticated import SKEW, V2, Authenticated, Lookup, proven, same
from gateway.head import Head
from gateway.signature_faults import Fault, SignatureFault

METHODS = {"HmacSHA256": "sha256", "HmacSHA1": "sha1"}


def is_signed(form: Mapping[str, str]) -> bool:
    """Whether a form claims a signature of this version."""
    return "AWSAccessKeyId" in form and "Signature" in form


def authenticate_form(
    head: Head, form: Mapping[str, str], lookup: Lookup, now: datetime, service: str
) -> Authenticated:
    """Who signed the fields of a form. Raises `SignatureFault`."""
    digest = METHODS.get(form.get("SignatureMethod", "HmacSHA256"))
    if form.get("SignatureVersion") != "2" or digest is None:
        raise SignatureFault(Fault.UNSUPPORTED, algorithm=form.get("SignatureMethod", ""))
    signed_at = _moment(form, now)
    access_key = form["AWSAccessKeyId"]
    credential = proven(access_key, form.get("SecurityToken"), lookup, now)
    text = string_to_sign(head, form)
    key = credential.secret.encode("utf-8", "surrogateescape")
    right = base64.b64encode(hmac.digest(key, text.encode(), digest)).decode()
    if not same(right, form["Signature"]):
        raise SignatureFault(
            Fault.MISMATCH,
            access_key=access_key,
            string_to_sign=text,
            canonical_request=None,
            provided=form["Signature"],
        )
    return Authenticated(access_key, credential, "query", V2, signed_at, service=service, signature=right)


def string_to_sign(head: Head, form: Mapping[str, str]) -> str:
    """What the client has to have signed: four lines, the last of them all fields in the order of their names."""
    fields = sorted((name, value) for name, value in form.items() if name != "Signature")
    query = "&".join(f"{_escaped(name)}={_escaped(value)}" for name, value in fields)
    return f"{head.method}\n{head.text(b'host').lower()}\n{head.raw_path.decode('latin-1') or '/'}\n{query}"


def _escaped(text: str) -> str:
    return quote(text.encode("utf-8", "surrogateescape"), safe="-_.~")


def _moment(form: Mapping[str, str], now: datetime) -> datetime:
    """When it was signed; a request that says when it ends instead is as good as signed now."""
    given = form.get("Timestamp") or form.get("Expires")
    if not given:
        raise SignatureFault(Fault.NO_DATE)
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise SignatureFault(Fault.NO_DATE) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if "Timestamp" not in form:
        if now > moment:
            raise SignatureFault(Fault.EXPIRED, seconds=None, expires=moment, requested=moment, now=now)
        return now
    if abs(now - moment) > SKEW:
        raise SignatureFault(Fault.SKEWED, requested=moment, now=now)
    return moment
