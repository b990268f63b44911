"""DNS on the wire, for the resolver inside a network: one question in, one answer out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from backends.errors import NativeError


class Found(NamedTuple):
    """What is known of a name: `known` None means that somebody else may know it."""

    known: bool | None
    values: Sequence[str]


class Ask(NamedTuple):
    """The question of a query that this resolver does not answer by itself."""

    query: bytes


class Unanswerable(NativeError):
    """The bytes are no query."""


SECONDS = 60


def answer(query: bytes, known: Callable[[str, str], Found], *, forwards: bool) -> bytes | Ask:
    """The answer to a query, or `Ask` for one to forward. `known` is given the name (no dot at its end) and the type.

    Where nothing is forwarded, what nobody knows is refused. Raises `Unanswerable` for bytes that get no answer."""
    import dns.exception
    import dns.flags
    import dns.message
    import dns.opcode
    import dns.rcode
    import dns.rdataclass
    import dns.rdatatype
    import dns.rrset

    try:
        asked = dns.message.from_wire(query, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, AssertionError) as error:
        raise Unanswerable(str(error)) from error
    if asked.flags & dns.flags.QR or asked.opcode() != dns.opcode.QUERY or len(asked.question) != 1:
        raise Unanswerable("not a query with one question")
    try:
        told = dns.message.make_response(asked, recursion_available=forwards)
    except dns.exception.DNSException as error:
        raise Unanswerable(str(error)) from error
    question = asked.question[0]
    kind = dns.rdatatype.to_text(question.rdtype)
    name = question.name.to_text(omit_final_dot=True)
    found = Found(None, ()) if question.rdclass != dns.rdataclass.IN else known(name, kind)
    if found.known is None:
        if forwards:
            return Ask(query)
        told.set_rcode(dns.rcode.REFUSED)
    elif not found.known:
        told.set_rcode(dns.rcode.NXDOMAIN)
        told.flags |= dns.flags.AA
    else:
        told.flags |= dns.flags.AA
        if found.values:
            told.answer.append(
                dns.rrset.from_text_list(question.name, SECONDS, dns.rdataclass.IN, question.rdtype, found.values)
            )
    return told.to_wire()
