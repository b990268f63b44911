"""One request to AWS's endpoint, from its head to its answer. The whole walk stands in this file.

Route → authenticate → read → admit → perform → write. What must not wait runs on the event loop; what may (streams,
slow operations, a database over the network) runs on a bounded pool of threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from compat.cloud import Cloud, wall
from compat.context import Call, host_id
from compat.dispatch import Admitted, Answer, Dispatcher
from compat.errors import AWSError
from compat.iam.credentials import lookup
from compat.iam.principal import Principal, root
from compat.model import SERVICES
from compat.s3.old_signatures import are_taken
from compat.streams import ClientGone, Stream
from gateway import cors
from gateway.authenticated import V2, Authenticated, Lookup
from gateway.batching import Batcher
from gateway.body import BytesSource, Source, open_body
from gateway.exchange import Exchange, Headers, new_request_id, open_up, rest_of
from gateway.facts import Facts, facts_of
from gateway.head import Head, head_of
from gateway.hoisted import hoisted
from gateway.lines import head_lines
from gateway.postobject import Upload
from gateway.route import Route, Router, scope_of, wants_form
from gateway.signature_faults import Family, Fault, SignatureFault, as_error
from gateway.sigv4 import authenticate
from gateway.streaming import (
    QueueBody,
    Receive,
    Send,
    expects_continue,
    open_source,
    read_all,
    send_bytes,
    send_last_bytes,
    send_stream,
)
from gateway.unpacking import unpacked
from gateway.website import Visit
from gateway.wire import WireFault, WireRequest, WireResponse, codec, encode_error, parse_form

if TYPE_CHECKING:
    from gateway.connection import Line

log = logging.getLogger("nephele.endpoint")

MOST_DOCUMENT = 8 << 20
"""Longest body that is read in one piece: forms, XML and JSON documents. The largest that AWS takes (a multi-object
delete of 1,000 long keys, an EBS block is a stream) is below that."""
MOST_PARSED = 4096
MOST_IN_PLACE = 16 << 10
"""Longest body whose operation runs on the event loop's thread: what goes into the index and needs no file."""
SERVER = (b"server", b"Nephele")
_SERVER_LINE = head_lines([SERVER])
PLAIN_HEADERS = frozenset(
    b"accept accept-encoding amz-sdk-invocation-id amz-sdk-request authorization connection host if-match "
    b"if-modified-since if-none-match if-unmodified-since origin range user-agent x-amz-checksum-mode "
    b"x-amz-content-sha256 x-amz-date x-amz-security-token x-amz-user-agent".split()
)
"""Headers that are parameters of reads, or no part of what is asked."""
FAMILIES = {"ec2": Family.EC2, "query": Family.QUERY, "rest-xml": Family.S3, "rest-json": Family.REST_JSON}
Observe = Callable[["Exchange", int, float], None]
"""Told of every finished exchange: the exchange, its status, its seconds."""


class Endpoint:
    """The ASGI application that speaks AWS."""

    def __init__(
        self,
        cloud: Cloud,
        dispatcher: Dispatcher,
        *,
        observe: Observe,
        threads: int = 64,
        find: Lookup | None = None,
    ) -> None:
        """`find` knows access keys; by default as the cloud does."""
        self._cloud, self._dispatcher, self._observe = cloud, dispatcher, observe
        self._lookup = find or lookup(cloud)
        self._router = Router()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="call")
        self._batcher = Batcher(dispatcher)
        self._begin = cloud.database.stamps.begin
        self._parsed: OrderedDict[tuple[str, str, bytes], Mapping[str, Any]] = OrderedDict()

    def close(self) -> None:
        """Let running calls end."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._batcher.close()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request. Nothing that is raised below leaves here, but what says that the client is gone."""
        await self._walk(Exchange(head_of(scope), new_request_id(), receive, send))

    def at_once(self, head: Head, body: bytes, line: Line) -> Coroutine[Any, Any, None] | None:
        """Answer a request that is here whole. Where something must be waited for, the rest of the walk, to be run as
        a task; most requests need none."""
        walk = self._walk(Exchange(head, new_request_id(), line=line, arrived=body, read=True))
        try:
            awaited = walk.send(None)
        except StopIteration:
            return None
        return rest_of(walk, awaited)

    async def _walk(self, exchange: Exchange) -> None:
        began = perf_counter()
        self._begin()
        try:
            status = await self._answer(exchange)
        except ClientGone:
            status = 499
        except (AWSError, WireFault, SignatureFault) as refusal:
            status = await self._refuse(exchange, refusal)
        except Exception:  # the edge: whatever it is, the client gets an answer and the log the trace
            if exchange.sent is not None and isinstance(exchange.sent.body, Stream):
                # Too late for another answer: the connection is dropped, so that nobody takes a part for the whole.
                self._observe(exchange, 500, perf_counter() - began)
                raise
            log.exception("request %s failed", exchange.request_id)
            unforeseen = AWSError("InternalError", "An internal error occurred; the server's log has the details.", 500)
            status = await self._refuse(exchange, unforeseen)
        self._observe(exchange, status, perf_counter() - began)

    # --- the walk ---------------------------------------------------------------------------------------------------

    async def _answer(self, exchange: Exchange) -> int:
        head = hoisted(exchange.head)
        raw: bytes | None = None
        form = None
        if wants_form(head):
            raw = await self._whole(exchange)
            form = parse_form(unpacked(head, raw, MOST_DOCUMENT))
        route = exchange.route = self._router.resolve(head, form)
        if route.operation == "Preflight":
            return await self._send(exchange, cors.preflight(self._cloud, head, route, exchange.request_id))
        if route.operation == "PostObject":
            return await self._post_object(exchange, route)
        if route.style == "website":
            visit = Visit(self._dispatcher, head, route, self._plain_call(exchange))
            return await self._send(exchange, await self._on_thread(visit.answer, exchange.request_id))
        facts = facts_of(route.service, route.operation)
        if route.service != "s3" and raw is None:
            raw = await self._whole(exchange)
        proof = self._authenticate(exchange, route, facts, raw)
        view = head.view
        if b"origin" in view or b"sec-fetch-site" in view:
            cors.check_page(self._cloud, head, route, exchange.principal)
        if not facts.streams_in and raw is None:
            raw = await self._document(exchange, head, proof, facts)
        elif raw is not None and route.form is None and not facts.streams_in:
            raw = unpacked(head, raw, MOST_DOCUMENT)
        params = self._read(route, head, raw)
        call = exchange.call = self._call(exchange, head, route, proof, params, raw if route.form is not None else None)
        dispatcher = self._dispatcher
        in_place = dispatcher.cloud.database.is_sqlite and not facts.slow
        admitted = dispatcher.admit(call) if in_place else await self._on_thread(dispatcher.admit, call)
        if facts.streams_in:
            source = BytesSource(raw) if raw is not None else await self._source(exchange)
            call.body = admitted.context.body = open_body(
                head,
                proof,
                source,
                checksummed=facts.checksummed,
                checksum_required=facts.checksum_required,
                length_required=True,
                unproven=self._cloud.rules.auth == "off",
            )
            in_place = in_place and isinstance(source, BytesSource) and source.size <= MOST_IN_PLACE
        if not in_place:
            answer = await self._on_thread(dispatcher.perform, admitted)
        elif admitted.operation.reads:
            answer = dispatcher.perform(admitted)
        else:
            answer = await self._batcher.perform(admitted)
        return await self._send(exchange, self._write(exchange, route, admitted, answer))

    async def _on_thread(self, work: Callable[[Any], Any], argument: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, argument)

    async def _source(self, exchange: Exchange) -> Source:
        """Where the raw body is read from. The client is told to send it, so it must be authorised by now."""
        if exchange.arrived is not None:
            source: Source = BytesSource(exchange.arrived)
        else:
            source = await open_source(exchange.head, exchange.receive)
        exchange.source = source
        return source

    async def _whole(self, exchange: Exchange) -> bytes:
        """The raw body in one piece."""
        if exchange.arrived is not None:
            return exchange.arrived
        body = await read_all(exchange.receive, MOST_DOCUMENT)
        exchange.read = True
        return body

    async def _document(self, exchange: Exchange, head: Head, proof: Authenticated | None, facts: Facts) -> bytes:
        """The checked, decoded body of an S3 operation that takes a document."""
        view = head.view
        if b"content-length" not in view and b"transfer-encoding" not in view:
            exchange.read = True
            return b""
        body = open_body(
            head,
            proof,
            BytesSource(await self._whole(exchange)),
            checksummed=facts.checksummed,
            checksum_required=facts.checksum_required,
            unproven=self._cloud.rules.auth == "off",
        )
        return body.whole(MOST_DOCUMENT)

    def _authenticate(self, exchange: Exchange, route: Route, facts: Facts, raw: bytes | None) -> Authenticated | None:
        """Who signed; `exchange.principal` is set. Raises `SignatureFault`."""
        cloud = self._cloud
        if cloud.rules.auth == "off":
            exchange.principal = self._claimed(exchange.head)
            return None
        proof = authenticate(
            exchange.head,
            self._lookup,
            wall(),
            service=SERVICES[route.service].scope,
            payload=None if route.service == "s3" else raw,
            unsigned_payload=facts.unsigned_body,
            host_bucket=route.path.get("Bucket", "") if route.style == "virtual" else "",
            form=route.form,
        )
        if proof is not None:
            exchange.principal = proof.credential.principal
            if proof.version == V2 and route.service == "s3" and not are_taken(cloud, route.path.get("Bucket", "")):
                raise SignatureFault(Fault.UNSUPPORTED, algorithm=V2)
        elif not facts.anonymous:
            raise SignatureFault(Fault.MISSING)
        return proof

    def _claimed(self, head: Head) -> Principal:
        """With `--auth off`: whom the request says it is from, unproven; else the default account's root."""
        claim = head.text(b"authorization").partition("Credential=")[2] or head.query.get("X-Amz-Credential", "")
        key = claim.split("/", 1)[0] or head.query.get("AWSAccessKeyId", "")
        credential = self._lookup(key) if key else None
        return credential.principal if credential is not None else root(self._cloud.rules.default_account)

    def _read(self, route: Route, head: Head, raw: bytes | None) -> Mapping[str, Any]:
        """The parameters. Forms that come again are not parsed again: nobody changes parameters."""
        if route.form is None or raw is None:
            request = WireRequest(head, route.path, route.form, raw or b"")
            return codec(route.service, route.operation, route.protocol).read(request)
        key = (route.service, route.operation, raw + b"?" + head.raw_query if head.raw_query else raw)
        params = self._parsed.get(key)
        if params is None:
            read = codec(route.service, route.operation, route.protocol).read
            params = self._parsed[key] = read(WireRequest(head, route.path, route.form, raw))
            if len(self._parsed) > MOST_PARSED or len(raw) > 1 << 16:
                self._parsed.popitem(last=len(raw) > 1 << 16)
        return params

    def _call(
        self,
        exchange: Exchange,
        head: Head,
        route: Route,
        proof: Authenticated | None,
        params: Mapping[str, Any],
        raw: bytes | None,
    ) -> Call:
        rules = self._cloud.rules
        region = (proof.region if proof is not None else self._region(head)) or rules.default_region
        if raw is not None and head.raw_query:
            raw = raw + b"?" + head.raw_query
        call = Call(
            service=route.service,
            name=route.operation,
            params=params,
            principal=exchange.principal,
            region=region,
            request_id=exchange.request_id,
            raw=raw,
            source_ip=head.client or "127.0.0.1",
            tls=head.tls,
            user_agent=head.text(b"user-agent"),
            headers=Headers(head.view),
            auth_type="anonymous" if proof is None else proof.how,
            plain=raw is None and head.view.keys() <= PLAIN_HEADERS,
        )
        if proof is not None:
            call.signature_version = proof.version
            call.signature_age = proof.age(wall()) if proof.how == "query" else 0
        return call

    def _region(self, head: Head) -> str:
        claim = head.text(b"authorization").partition("Credential=")[2].split(",", 1)[0]
        parts = (claim or head.query.get("X-Amz-Credential", "")).split("/")
        return parts[2] if len(parts) == 5 else ""

    # --- answers ----------------------------------------------------------------------------------------------------

    def _write(self, exchange: Exchange, route: Route, admitted: Admitted, answer: Answer) -> WireResponse:
        """The encoded answer; that of an answer that is kept is kept with it."""
        encoded = answer.encoded
        if encoded is None:
            encoded = codec(route.service, route.operation, route.protocol).write(answer.result)
            if admitted.key is not None:
                answer.encoded = encoded
        response: WireResponse = encoded.render(exchange.request_id, host_id(exchange.request_id))
        return response

    async def _send(self, exchange: Exchange, response: WireResponse) -> int:
        exchange.sent = response
        headers, body, lines = response.headers, response.body, response.lines
        headers.append(SERVER)
        if b"origin" in exchange.head.view and exchange.route is not None:
            headers += cors.headers(self._cloud, exchange.head, exchange.route)
        elif lines and exchange.line is not None:
            exchange.line.answer(response.status, lines + _SERVER_LINE, body)
            return response.status
        if isinstance(body, Stream):
            await open_up(exchange)
            await send_stream(
                exchange.send,
                exchange.receive,
                response.status,
                headers,
                body,
                self._pool,
                zero_copy=exchange.head.zero_copy,
            )
        else:
            await self._finish(exchange, response.status, headers, body)
        return response.status

    async def _finish(self, exchange: Exchange, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole answer, with care for a body that was not read."""
        if exchange.line is not None:
            exchange.line.answer(status, head_lines(headers), body)
            return
        source = exchange.source
        usable = True
        if isinstance(source, QueueBody):
            usable = await source.settle()
        elif source is None and not exchange.read and _has_body(exchange.head):
            # Refused before the body was asked for: whoever waits for `100 Continue` will not send it.
            usable = await QueueBody(exchange.receive, expects_continue(exchange.head)).settle()
        if usable:
            await send_bytes(exchange.send, status, headers, body, whole=exchange.head.whole)
        else:
            await send_last_bytes(exchange.send, exchange.receive, status, headers, body)

    async def _refuse(self, exchange: Exchange, refusal: AWSError | WireFault | SignatureFault) -> int:
        route = exchange.route
        service = route.service if route is not None else ""
        protocol = route.protocol if route is not None else ""
        if isinstance(refusal, WireFault) and not service:
            service, protocol = refusal.service, refusal.protocol
        if not service and not protocol:
            service = _guess(exchange.head)
        if isinstance(refusal, SignatureFault):
            spoken = protocol or (SERVICES[service].protocol if service in SERVICES else "rest-xml")
            refusal = as_error(refusal, FAMILIES.get(spoken, Family.JSON))
        response = encode_error(
            service,
            refusal.code,
            refusal.message,
            refusal.status,
            refusal.fields,
            exchange.request_id,
            host_id(exchange.request_id),
            protocol=protocol,
            head=exchange.head.method == "HEAD" or refusal.status == 304,
        )
        if isinstance(refusal, AWSError):
            for name, value in refusal.headers.items():
                response.headers.append((name.lower().encode("latin-1"), str(value).encode("latin-1", "replace")))
        exchange.sent, exchange.fault = response, refusal.code
        response.headers.append(SERVER)
        if b"origin" in exchange.head.view and route is not None:
            response.headers += cors.headers(self._cloud, exchange.head, route)
        try:
            await self._finish(exchange, response.status, response.headers, response.body)
        except ClientGone:
            return 499
        return response.status

    def _plain_call(self, exchange: Exchange) -> Callable[..., Call]:
        """Makes a call of S3 out of an exchange and of what whoever read it found."""
        head = exchange.head
        return partial(
            Call,
            service="s3",
            request_id=exchange.request_id,
            source_ip=head.client or "127.0.0.1",
            tls=head.tls,
            user_agent=head.text(b"user-agent"),
            headers=Headers(head.view),
        )

    async def _post_object(self, exchange: Exchange, route: Route) -> int:
        head = exchange.head
        source = await self._source(exchange)
        upload = Upload(self._dispatcher, self._lookup, head, route.path["Bucket"], source)
        try:
            response = await self._on_thread(upload.answer, self._plain_call(exchange))
        finally:
            exchange.principal = upload.principal
        response.headers += [
            (b"x-amz-request-id", exchange.request_id.encode()),
            (b"x-amz-id-2", host_id(exchange.request_id).encode()),
        ]
        return await self._send(exchange, response)


def _has_body(head: Head) -> bool:
    return b"transfer-encoding" in head.view or head.view.get(b"content-length", b"0") not in (b"0", b"")


def _guess(head: Head) -> str:
    """The service of a request that has no route, for the envelope of its error."""
    scope = scope_of(head)
    return next((name for name, service in SERVICES.items() if service.scope == scope), "s3")
