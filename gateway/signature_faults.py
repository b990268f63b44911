"""What can be wrong with a signature, and how each family of services says so.

The verifiers raise `SignatureFault`; only `as_error` knows AWS's codes, statuses and wordings. S3 has a code of its own
for nearly every fault; the query, JSON and EC2 families share a few codes and differ in their names and statuses.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from compat.errors import AWSError


class Family(StrEnum):
    """Services that word their refusals alike."""

    S3 = "s3"
    EC2 = "ec2"
    QUERY = "query"
    JSON = "json"
    REST_JSON = "rest-json"


class Fault(StrEnum):
    """Kinds of refusal, with the facts that each carries."""

    MISSING = "missing"  # no credentials at all
    UNSUPPORTED = "unsupported"  # algorithm
    TYPE = "type"  # authorization: neither a signature of version 4 nor of version 2
    TWO_MECHANISMS = "two-mechanisms"  # authorization
    HEADER = "header"  # lacking: names of missing components, authorization, odd: what is no component; or reason
    HEADER_2 = "header-2"  # version 2: authorization
    QUERY = "query"  # reason
    QUERY_2 = "query-2"  # version 2
    CREDENTIAL = "credential"  # authorization: the credential is not of five parts
    NO_DATE = "no-date"
    DATE = "date"  # scoped, date
    SERVICE = "service"  # given, expected
    REGION = "region"  # given, expected
    TERMINATOR = "terminator"  # given
    SKEWED = "skewed"  # requested, now
    EXPIRED = "expired"  # expires, seconds, now: a presigned request too late
    EARLY = "early"  # requested, now: a presigned request from the future
    UNSIGNED = "unsigned"  # names
    NO_PAYLOAD_HASH = "no-payload-hash"
    PAYLOAD_HASH = "payload-hash"  # given
    UNKNOWN_KEY = "unknown-key"  # access_key
    TOKEN = "token"  # access_key, token
    EXPIRED_TOKEN = "expired-token"  # token
    MISMATCH = "mismatch"  # access_key, string_to_sign, canonical_request (None in version 2), provided


class SignatureFault(Exception):
    """A request that does not prove who sent it. `facts` are those listed beside the kind."""

    def __init__(self, kind: Fault, **facts: Any) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.facts = facts


def as_error(fault: SignatureFault, family: Family) -> AWSError:
    """The answer that a service of `family` gives to `fault`."""
    if family is Family.S3:
        return S3_ANSWERS[fault.kind](fault.facts)
    outcome, wording = WORDINGS[fault.kind]
    code, status, fixed = CODES[family][outcome]
    return AWSError(code, fixed or wording(fault.facts), status)


# --- S3 ---------------------------------------------------------------------------------------------------------------

Facts = dict[str, Any]
EXPECTED_CREDENTIAL = 'expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request"'
ONE_SPACE = "Authorization header is invalid -- one and only one ' ' (space) required"
QUERY_2_TEXT = "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"
V4_ONLY = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."


def _malformed(facts: Facts, reason: str, **fields: Any) -> AWSError:
    """A fault of the credentials, called by the place where they stand: header, query, or form."""
    if facts.get("place") == "query":
        return AWSError(
            "AuthorizationQueryParametersError",
            f"Error parsing the X-Amz-Credential parameter; {reason}",
            400,
            **fields,
        )
    return AWSError("AuthorizationHeaderMalformed", f"The authorization header is malformed; {reason}", 400, **fields)


def _s3_header(facts: Facts) -> AWSError:
    if "reason" in facts:
        reason = facts["reason"]
    elif facts["authorization"].count(",") != 2:
        reason = "the authorization header requires three components: Credential, SignedHeaders, and Signature."
    elif facts["odd"] is not None:
        reason = f'the authorization component "{facts["odd"]}" is malformed.'
    else:
        reason = f"missing {facts['lacking'][0]}."
    return AWSError("AuthorizationHeaderMalformed", f"The authorization header is malformed; {reason}", 400)


def _s3_type(facts: Facts) -> AWSError:
    given = facts["authorization"]
    message = "Unsupported Authorization Type" if " " in given else ONE_SPACE
    return _argument(message, "Authorization", given)


def _s3_date(facts: Facts) -> AWSError:
    scoped = facts["scoped"]
    if not (len(scoped) == 8 and scoped.isascii() and scoped.isdigit()):
        needed = 'This date in the credential must be in the format "yyyyMMdd".'
        return _malformed(facts, f'incorrect date format "{scoped}". {needed}')
    reason = f'Invalid credential date "{scoped}". This date is not the same as X-Amz-Date: "{facts["date"][:8]}".'
    if facts.get("place") == "query":
        return AWSError("AuthorizationQueryParametersError", reason, 400)
    return _malformed(facts, reason)


def _s3_mismatch(facts: Facts) -> AWSError:
    fields: Facts = {
        "AWSAccessKeyId": facts["access_key"],
        "StringToSign": facts["string_to_sign"],
        "SignatureProvided": facts["provided"],
        "StringToSignBytes": hex_bytes(facts["string_to_sign"]),
    }
    if facts.get("canonical_request") is not None:
        fields["CanonicalRequest"] = facts["canonical_request"]
        fields["CanonicalRequestBytes"] = hex_bytes(facts["canonical_request"])
    return AWSError(
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your key and signing "
        "method.",
        403,
        **fields,
    )


def _optional(name: str, value: Any) -> dict[str, Any]:
    """A field whose name is no identifier; none when there is no value."""
    return {} if value is None else {name: value}


def _argument(message: str, name: str, value: Any) -> AWSError:
    return AWSError("InvalidArgument", message, 400, ArgumentName=name, ArgumentValue=value)


S3_ANSWERS: dict[Fault, Callable[[Facts], AWSError]] = {
    Fault.MISSING: lambda f: AWSError("AccessDenied", "Access Denied", 403),
    Fault.UNSUPPORTED: lambda f: AWSError("InvalidRequest", V4_ONLY, 400),
    Fault.TYPE: _s3_type,
    Fault.TWO_MECHANISMS: lambda f: _argument(
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter "
        "or the Authorization header should be specified",
        "Authorization",
        f["authorization"],
    ),
    Fault.HEADER: _s3_header,
    Fault.HEADER_2: lambda f: _argument(
        "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature", "Authorization", f["authorization"]
    ),
    Fault.QUERY: lambda f: AWSError("AuthorizationQueryParametersError", f["reason"], 400),
    Fault.QUERY_2: lambda f: AWSError("AccessDenied", QUERY_2_TEXT, 403),
    Fault.CREDENTIAL: lambda f: _malformed(f, f"the Credential is mal-formed; {EXPECTED_CREDENTIAL}."),
    Fault.NO_DATE: lambda f: AWSError(
        "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header", 403
    ),
    Fault.DATE: _s3_date,
    Fault.SERVICE: lambda f: _malformed(
        f, f'incorrect service "{f["given"]}". This endpoint belongs to "{f["expected"]}".'
    ),
    Fault.REGION: lambda f: _malformed(
        f, f"the region '{f['given']}' is wrong; expecting '{f['expected']}'", Region=f["expected"]
    ),
    Fault.TERMINATOR: lambda f: _malformed(f, f'incorrect terminal "{f["given"]}". This endpoint uses "aws4_request".'),
    Fault.SKEWED: lambda f: AWSError(
        "RequestTimeTooSkewed",
        "The difference between the request time and the current time is too large.",
        403,
        RequestTime=compact(f["requested"]),
        ServerTime=extended(f["now"]),
        MaxAllowedSkewMilliseconds=900000,
    ),
    Fault.EXPIRED: lambda f: AWSError(
        "AccessDenied",
        "Request has expired",
        403,
        **_optional("X-Amz-Expires", f["seconds"]),
        Expires=extended(f["expires"]),
        ServerTime=extended(f["now"]),
    ),
    Fault.EARLY: lambda f: AWSError(
        "AccessDenied",
        "Request is not yet valid",
        403,
        **_optional("X-Amz-Date", compact(f["requested"])),
        ServerTime=extended(f["now"]),
    ),
    Fault.UNSIGNED: lambda f: AWSError(
        "AccessDenied",
        "There were headers present in the request which were not signed",
        403,
        HeadersNotSigned=", ".join(f["names"]),
    ),
    Fault.NO_PAYLOAD_HASH: lambda f: AWSError(
        "InvalidRequest", "Missing required header for this request: x-amz-content-sha256", 400
    ),
    Fault.PAYLOAD_HASH: lambda f: _argument(
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, "
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid "
        "sha256 value.",
        "x-amz-content-sha256",
        f["given"],
    ),
    Fault.UNKNOWN_KEY: lambda f: AWSError(
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
        403,
        AWSAccessKeyId=f["access_key"],
    ),
    Fault.TOKEN: lambda f: AWSError(
        "InvalidToken",
        "The provided token is malformed or otherwise invalid.",
        400,
        **_optional("Token-0", f["token"]),
    ),
    Fault.EXPIRED_TOKEN: lambda f: AWSError(
        "ExpiredToken", "The provided token has expired.", 400, **_optional("Token-0", f["token"])
    ),
    Fault.MISMATCH: _s3_mismatch,
}


# --- all others -------------------------------------------------------------------------------------------------------


class Outcome(StrEnum):
    """What the other families distinguish."""

    MISSING = "missing"
    INCOMPLETE = "incomplete"
    MISMATCH = "mismatch"
    KEY = "key"
    EXPIRED = "expired"
    TOKEN_EXPIRED = "token-expired"


KEY_TEXT = "The security token included in the request is invalid."
MISSING_TEXT = "Request is missing Authentication Token"
TOKEN_TEXT = "The security token included in the request is expired"
EC2_TEXT = "AWS was not able to validate the provided access credentials"

# family -> outcome -> (code, status, the message where it is always the same)
CODES: dict[Family, dict[Outcome, tuple[str, int, str]]] = {
    Family.EC2: {
        Outcome.MISSING: ("MissingParameter", 400, "The request must contain the parameter AWSAccessKeyId"),
        Outcome.INCOMPLETE: ("IncompleteSignature", 400, ""),
        Outcome.MISMATCH: ("AuthFailure", 401, EC2_TEXT),
        Outcome.KEY: ("AuthFailure", 401, EC2_TEXT),
        Outcome.EXPIRED: ("RequestExpired", 400, "Request has expired."),
        Outcome.TOKEN_EXPIRED: ("RequestExpired", 400, "Request has expired."),
    },
    Family.QUERY: {
        Outcome.MISSING: ("MissingAuthenticationToken", 403, MISSING_TEXT),
        Outcome.INCOMPLETE: ("IncompleteSignature", 400, ""),
        Outcome.MISMATCH: ("SignatureDoesNotMatch", 403, ""),
        Outcome.KEY: ("InvalidClientTokenId", 403, KEY_TEXT),
        Outcome.EXPIRED: ("SignatureDoesNotMatch", 403, ""),
        Outcome.TOKEN_EXPIRED: ("ExpiredToken", 403, TOKEN_TEXT),
    },
    Family.JSON: {
        Outcome.MISSING: ("MissingAuthenticationTokenException", 400, "Missing Authentication Token"),
        Outcome.INCOMPLETE: ("IncompleteSignatureException", 400, ""),
        Outcome.MISMATCH: ("InvalidSignatureException", 400, ""),
        Outcome.KEY: ("UnrecognizedClientException", 400, KEY_TEXT),
        Outcome.EXPIRED: ("InvalidSignatureException", 400, ""),
        Outcome.TOKEN_EXPIRED: ("ExpiredTokenException", 400, TOKEN_TEXT),
    },
    Family.REST_JSON: {
        Outcome.MISSING: ("MissingAuthenticationTokenException", 403, "Missing Authentication Token"),
        Outcome.INCOMPLETE: ("IncompleteSignatureException", 403, ""),
        Outcome.MISMATCH: ("InvalidSignatureException", 403, ""),
        Outcome.KEY: ("UnrecognizedClientException", 403, KEY_TEXT),
        Outcome.EXPIRED: ("InvalidSignatureException", 403, ""),
        Outcome.TOKEN_EXPIRED: ("ExpiredTokenException", 403, TOKEN_TEXT),
    },
}


def _lacking(facts: Facts) -> str:
    if "reason" in facts:
        return str(facts["reason"])
    needs = " ".join(f"Authorization header requires '{name}' parameter." for name in facts["lacking"])
    return f"{needs} Authorization={facts['authorization']}"


def _too_early_or_late(facts: Facts) -> str:
    requested, now = facts["requested"], facts["now"]
    if requested < now:
        limit = compact(datetime.fromtimestamp(now.timestamp() - 900, UTC))
        return f"Signature expired: {compact(requested)} is now earlier than {limit} ({compact(now)} - 15 min.)"
    limit = compact(datetime.fromtimestamp(now.timestamp() + 900, UTC))
    return f"Signature not yet current: {compact(requested)} is still later than {limit} ({compact(now)} + 15 min.)"


def _date(facts: Facts) -> str:
    date = facts["date"]
    return (
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
        f"'{facts['scoped']}' != '{date[:8]}', from '{date}'."
    )


def _mismatch(facts: Facts) -> str:
    return (
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details."
    )


def _unsigned(facts: Facts) -> str:
    named = "'Host' or ':authority'" if "host" in facts["names"] else f"'{facts['names'][0]}'"
    return f"{named} must be a 'SignedHeader' in the AWS Authorization."


WORDINGS: dict[Fault, tuple[Outcome, Callable[[Facts], str]]] = {
    Fault.MISSING: (Outcome.MISSING, lambda f: ""),
    Fault.TYPE: (Outcome.MISSING, lambda f: ""),
    Fault.UNSUPPORTED: (Outcome.INCOMPLETE, lambda f: f"Unsupported AWS 'algorithm': '{f['algorithm']}'."),
    Fault.TWO_MECHANISMS: (
        Outcome.INCOMPLETE,
        lambda f: "Only one auth mechanism allowed: a signed query string or the Authorization header.",
    ),
    Fault.HEADER: (Outcome.INCOMPLETE, _lacking),
    Fault.HEADER_2: (Outcome.INCOMPLETE, lambda f: 'Authorization header requires the form "AWS key:signature".'),
    Fault.QUERY: (Outcome.INCOMPLETE, lambda f: str(f["reason"])),
    Fault.QUERY_2: (Outcome.INCOMPLETE, lambda f: QUERY_2_TEXT),
    Fault.CREDENTIAL: (
        Outcome.INCOMPLETE,
        lambda f: (
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{f['credential']}'"
        ),
    ),
    Fault.NO_DATE: (
        Outcome.INCOMPLETE,
        lambda f: "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
    ),
    Fault.DATE: (Outcome.MISMATCH, _date),
    Fault.SERVICE: (Outcome.MISMATCH, lambda f: f"Credential should be scoped to correct service: '{f['expected']}'."),
    Fault.REGION: (Outcome.MISMATCH, lambda f: "Credential should be scoped to a valid region."),
    Fault.TERMINATOR: (
        Outcome.MISMATCH,
        lambda f: f"Credential should be scoped with a valid terminator: 'aws4_request', not '{f['given']}'.",
    ),
    Fault.SKEWED: (Outcome.EXPIRED, _too_early_or_late),
    Fault.EXPIRED: (Outcome.EXPIRED, _too_early_or_late),
    Fault.EARLY: (Outcome.EXPIRED, _too_early_or_late),
    Fault.UNSIGNED: (Outcome.MISMATCH, _unsigned),
    Fault.NO_PAYLOAD_HASH: (Outcome.MISMATCH, _mismatch),
    Fault.PAYLOAD_HASH: (Outcome.MISMATCH, _mismatch),
    Fault.UNKNOWN_KEY: (Outcome.KEY, lambda f: ""),
    Fault.TOKEN: (Outcome.KEY, lambda f: ""),
    Fault.EXPIRED_TOKEN: (Outcome.TOKEN_EXPIRED, lambda f: ""),
    Fault.MISMATCH: (Outcome.MISMATCH, _mismatch),
}


# --- notations --------------------------------------------------------------------------------------------------------


def compact(moment: datetime) -> str:
    """`20260102T030405Z`."""
    return f"{moment:%Y%m%dT%H%M%SZ}"


def extended(moment: datetime) -> str:
    """`2026-01-02T03:04:05Z`."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def hex_bytes(text: str) -> str:
    """The bytes of `text` as S3 shows them in a refusal: two hexadecimal digits each, parted by blanks."""
    return text.encode("latin-1", "replace").hex(" ")
