"""A browser's form upload: its fields say what headers say elsewhere, its file is the body of a PutObject."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from xml.sax.saxutils import escape

from backends import checksum
from compat.cloud import wall
from compat.context import Call
from compat.dispatch import Dispatcher
from compat.errors import AWSError
from compat.iam.principal import ANONYMOUS, Credential, Principal, root
from compat.s3.old_signatures import are_taken
from compat.s3.places import location
from compat.s3.properties import encoded_word, is_encoded_word
from gateway.authenticated import V2, Authenticated
from gateway.body import Source, read_promises
from gateway.formdata import FileBody, Form, read_form
from gateway.head import Head
from gateway.postpolicy import Policy, authenticate_form, check_policy, missing_field, parse_policy
from gateway.signature_faults import Fault, SignatureFault
from gateway.wire import WireRequest, WireResponse, codec
from gateway.wire.rest import LATIN
from gateway.wire.restxml import malformed
from gateway.wire.xmlread import local, parse

# Fields that become headers of the same name; `x-amz-meta-…` and the other `x-amz-…` do, too.
PLAIN = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "content-md5",
    "expires",
)
OF_POLICY = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature", "x-amz-security-token")
TOLD = {
    "VersionId": b"x-amz-version-id",
    "ServerSideEncryption": b"x-amz-server-side-encryption",
    "ChecksumType": b"x-amz-checksum-type",
    **{f"Checksum{name}": f"x-amz-checksum-{name.lower()}".encode() for name in checksum.SIZES},
}
STATUSES = ("200", "201", "204")


class Upload:
    """One form upload, from its first byte to its answer. Blocks: for a worker thread."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        lookup: Callable[[str], Credential | None],
        head: Head,
        bucket: str,
        source: Source,
    ) -> None:
        self._dispatcher, self._lookup, self._head, self._bucket = dispatcher, lookup, head, bucket
        self._source = source
        self.principal: Principal = ANONYMOUS

    def answer(self, call_with: Callable[..., Call]) -> WireResponse:
        """Take the form in and store its file. `call_with` makes the call of a request out of what a form changes.

        Raises `AWSError` and `SignatureFault`; then nothing is stored.
        """
        cloud = self._dispatcher.cloud
        form = read_form(self._head.text(b"content-type"), self._source)
        key = form.fields.get("key", "")
        if not key:
            raise missing_field("key")
        if form.file is None:
            raise AWSError(
                "InvalidArgument",
                "POST requires exactly one file upload per request.",
                400,
                ArgumentName="file",
                ArgumentValue="0",
            )
        if form.filename is not None:
            name = form.filename.replace("\\", "/").rpartition("/")[2]  # some browsers send the whole path
            key = form.fields["key"] = key.replace("${filename}", name)
        form.fields["bucket"] = self._bucket
        proof, policy = self._prove(form, wall())
        stored = self._headers(form.fields)
        request = WireRequest(Head("PUT", b"/", b"", stored), {"Bucket": self._bucket, "Key": key})
        body = FileBody(form.file, policy)
        read_promises(request.head, body)
        call = call_with(
            name="PutObject",
            params=codec("s3", "PutObject").read(request),
            principal=self.principal,
            region=(proof.region if proof is not None else "") or cloud.rules.default_region,
            auth_type="anonymous" if proof is None else "post",
            body=body,
        )
        result = self._dispatcher.perform(self._dispatcher.admit(call)).result
        return self._respond(form.fields, key, result)

    def _prove(self, form: Form, now: datetime) -> tuple[Authenticated | None, Policy | None]:
        """Who signed the form, and the policy that it keeps to."""
        rules = self._dispatcher.cloud.rules
        fields = form.fields
        if rules.auth == "off":
            claim = fields.get("x-amz-credential", "").split("/", 1)[0] or fields.get("awsaccesskeyid", "")
            credential = self._lookup(claim) if claim else None
            self.principal = credential.principal if credential is not None else root(rules.default_account)
            return None, None
        proof = authenticate_form(fields, self._lookup, now)
        if proof is None:
            return None, None
        self.principal = proof.credential.principal
        if proof.version == V2 and not are_taken(self._dispatcher.cloud, self._bucket):
            raise SignatureFault(Fault.UNSUPPORTED, algorithm=V2)
        policy = parse_policy(fields["policy"])
        check_policy(policy, fields, now)
        return proof, policy

    def _headers(self, fields: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        """The form as the headers of a PUT."""
        given = {name: fields[name] for name in PLAIN if name in fields}
        given |= {n: _meant(n, v) for n, v in fields.items() if n.startswith("x-amz-") and n not in OF_POLICY}
        if "acl" in fields:
            given["x-amz-acl"] = fields["acl"]
        if "tagging" in fields:
            given["x-amz-tagging"] = urlencode(self._tags(fields["tagging"]))
        return [(name.encode("latin-1", "replace"), _as_header(name, value)) for name, value in given.items()]

    def _tags(self, text: str) -> list[tuple[str, str]]:
        """The tags in a document; none where it is XML, but another document."""
        document = text.encode()
        try:
            if local(parse(document).tag) != "Tagging":
                return []
        except ValueError:
            raise malformed() from None
        read = codec("s3", "PutObjectTagging").read(WireRequest(self._head, {}, None, document))
        return [(tag.get("Key", ""), tag.get("Value", "")) for tag in read["Tagging"].get("TagSet") or ()]

    def _respond(self, fields: Mapping[str, str], key: str, result: Mapping[str, Any]) -> WireResponse:
        """What the form asks to be answered: a redirection, or one of three statuses."""
        etag = str(result["ETag"])
        where = location(self._head.scheme, self._head.host, self._bucket, key)
        headers = [(b"etag", etag.encode("latin-1")), (b"location", where.encode("latin-1"))]
        headers += [(header, str(result[name]).encode("latin-1")) for name, header in TOLD.items() if name in result]
        target = fields.get("success_action_redirect") or fields.get("redirect") or ""
        if _is_address(target):
            told = urlencode({"bucket": self._bucket, "key": key, "etag": etag})
            safe = quote(target, safe="%:/?#[]@!$&'()*+,;=~")  # nothing that could end the header
            headers[1] = (b"location", f"{safe}{'&' if '?' in safe else '?'}{told}".encode("ascii"))
            return WireResponse(303, [*headers, (b"content-length", b"0")])
        status = fields.get("success_action_status", "204")
        if status not in STATUSES:
            status = "204"
        body = b""
        if status == "201":
            text = (
                f'<?xml version="1.0" encoding="UTF-8"?>\n<PostResponse><Location>{escape(where)}</Location>'
                f"<Bucket>{escape(self._bucket)}</Bucket><Key>{escape(key)}</Key><ETag>{escape(etag)}</ETag></PostResponse>"
            )
            body = text.encode()
            headers.append((b"content-type", b"application/xml"))
        if status != "204":
            headers.append((b"content-length", b"%d" % len(body)))
        return WireResponse(int(status), headers, body)


def _meant(name: str, value: str) -> str:
    """A field as the header that says the same: forms take metadata by the letter."""
    if name.startswith("x-amz-meta-") and (is_encoded_word(value) or value != value.strip()):
        return encoded_word(value)
    return value


def _as_header(name: str, value: str) -> bytes:
    """The value of a header: of one that is kept as it is, what Latin-1 cannot write is a space."""
    if name.encode("latin-1", "replace") not in LATIN:
        return value.encode("utf-8")
    return "".join(one if one <= "\xff" else " " for one in value).encode("latin-1")


def _is_address(target: str) -> bool:
    """Whether a browser can be sent there."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)
