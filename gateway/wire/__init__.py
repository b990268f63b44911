"""Requests into parameters and results into answers, driven by AWS's models. `codec` is the way in.

form = parse_form(body) if wants_form(head) else None             # gateway/route.py
route = resolve(head, form)                                       # gateway/route.py
wire = codec(route.service, route.operation, route.protocol)
params = wire.read(WireRequest(head, route.path, route.form, body))   # no body where wire.stream_in is set
answer = wire.write(result)                                       # an Encoded: keep it, render it many times
response = answer.render(request_id, host_id)                     # a WireResponse: status, headers, body

A result of a REST operation may set its status as `$status` and further headers as `$headers`; a `ContentRange` makes
it 206 by itself.
"""

from __future__ import annotations

from gateway.wire.codecs import Codec, codec
from gateway.wire.errors import encode_error
from gateway.wire.faults import WireFault
from gateway.wire.forms import parse_form
from gateway.wire.message import Encoded, WireRequest, WireResponse

__all__ = ["Codec", "Encoded", "WireFault", "WireRequest", "WireResponse", "codec", "encode_error", "parse_form"]
