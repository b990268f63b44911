"""From a call to its answer: recognition, validation, authorisation, transaction, token, audit. The only such place.

A call goes through two phases, so that the gateway can refuse before it reads a byte of a body: `admit`, then
`perform`. Answers of read operations are kept, encoded, while the topics that they read stand unchanged.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy.exc import DBAPIError

from backends.errors import NativeError
from backends.shortage import shortage
from compat import audit, tokens
from compat.cloud import Cloud
from compat.context import Call, Context
from compat.errors import AWSError, not_implemented
from compat.iam.authorize import authorize, refusal
from compat.model import service_model
from compat.operation import FALLBACKS, REASONS, Operation, Params, Result, find
from compat.preparing import PREPARATIONS, prepare
from compat.validate import validator

log = logging.getLogger("nephele.dispatch")

RESET = "reset"
"""The stamp that moves when state is thrown away."""


MOST_LASTING = 512
"""Answers that last until anybody writes; each with at most as many bytes as an object in the index has."""


@dataclass(slots=True, eq=False)
class Answer:
    """What an operation answered. The gateway keeps the encoded form in `encoded`, since answers may be kept."""

    result: Result
    encoded: Any = None


@dataclass(slots=True, eq=False)
class Admitted:
    """A call that was recognised, validated and allowed."""

    operation: Operation
    context: Context
    key: tuple[Any, ...] | None


@dataclass(slots=True)
class _Kept:
    answer: Answer
    stamps: dict[str, int]


@lru_cache(None)
def token_member(service: str, name: str) -> str | None:
    """The input member that is a client token: the model's trait, or the name where EC2's model lacks the trait."""
    shape = service_model(service).operation_model(name).input_shape
    if shape is None:
        return None
    for member, about in shape.members.items():
        if about.metadata.get("idempotencyToken"):
            return member
    if service == "ec2" and "ClientToken" in shape.members:
        return "ClientToken"
    return None


SOME_TAGGED = frozenset({"RunInstances", "CreateImage", "CopyImage", "CreateSnapshots"})
"""Operations of EC2 that may be given tags for kinds of which they happen to make none."""


@dataclass(slots=True)
class Dispatcher:
    """Answers calls for one cloud."""

    cloud: Cloud
    most_kept: int = 4096
    _kept: OrderedDict[tuple[Any, ...], _Kept] = field(default_factory=OrderedDict)
    _lasting: dict[tuple[Any, ...], tuple[int, Answer]] = field(default_factory=dict)
    _prepared: set[tuple[str, str, str]] = field(default_factory=set)
    _resets: int = 0

    def admit(self, call: Call) -> Admitted:
        """Recognise, validate and authorise. Raises `AWSError`; `DryRunOperation` is one."""
        operation = find(call.service, call.name)
        if operation is None:
            raise not_implemented(call.service, call.name, REASONS.get((call.service, call.name)))
        params = call.params
        validator(call.service, call.name)(params)
        ctx = Context(self.cloud, operation, call)
        try:
            if call.service in PREPARATIONS:
                self._prepare(ctx)
            if not operation.open and self.cloud.rules.auth != "off":
                decision = authorize(ctx, operation, params)
                if not decision.allowed:
                    if self.cloud.rules.auth == "enforce":
                        raise refusal(ctx, operation, decision)
                    log.warning(
                        "soft: %s would be denied %s: %s", call.principal.arn, operation.action, decision.reason
                    )
        except NativeError as fact:
            raise self._translate(operation, fact) from fact
        finally:
            ctx.close()
        if params.get("DryRun") is True:
            code = "DryRunOperationException" if call.service == "kms" else "DryRunOperation"
            raise AWSError(code, "Request would have succeeded, but DryRun flag is set.")
        key: tuple[Any, ...] | None = None
        if operation.lasting:
            if call.plain:
                key = (operation, call.region, call.principal.arn, *params.items())
        elif call.raw is not None and operation.reads and not operation.streams:
            key = (operation, call.raw, call.region, call.principal.arn)
        return Admitted(operation, ctx, key)

    def perform(self, admitted: Admitted) -> Answer:
        """Run an admitted call's handler. Raises `AWSError`."""
        operation, ctx = admitted.operation, admitted.context
        try:
            if admitted.key is not None and operation.lasting:
                return self._lasting_answer(admitted)
            if operation.streams:
                return Answer(_handled(operation, ctx))
            if operation.reads:
                return self._read(admitted)
            return Answer(self._write(operation, ctx))
        except NativeError as fact:
            raise self._translate(operation, fact) from fact
        except (DBAPIError, self.cloud.database.faults) as fault:
            raise self.translate(operation, fault) from fault
        finally:
            ctx.close()

    def _prepare(self, ctx: Context) -> None:
        resets = self.cloud.database.stamps.read().get(RESET, 0)
        if resets != self._resets:  # also when another worker did it
            self._resets = resets
            self._prepared.clear()
        place = (ctx.account, ctx.region, ctx.operation.service)
        if place not in self._prepared and not ctx.principal.is_anonymous:
            prepare(ctx)
            ctx.close()
            self._prepared.add(place)

    # --- the three ways to run --------------------------------------------------------------------------------------

    def _read(self, admitted: Admitted) -> Answer:
        operation, ctx, key = admitted.operation, admitted.context, admitted.key
        stamps = self.cloud.database.stamps.read()
        if key is not None:
            kept = self._kept.get(key)
            if kept is not None:
                if all(stamps.get(topic, 0) == value for topic, value in kept.stamps.items()):
                    self._kept.move_to_end(key)
                    return kept.answer
                del self._kept[key]
        with self.cloud.database.unit(ctx.scope, write=False) as unit:
            ctx._unit = unit
            answer = Answer(_handled(operation, ctx))
            topics = unit.topics_read
        if key is not None and not ctx.volatile:
            self._kept[key] = _Kept(answer, {topic: stamps.get(topic, 0) for topic in topics})
            if len(self._kept) > self.most_kept:
                self._kept.popitem(last=False)
        return answer

    def _lasting_answer(self, admitted: Admitted) -> Answer:
        ctx, key = admitted.context, admitted.key
        assert key is not None
        mark = self.cloud.database.mark()
        kept = self._lasting.get(key)
        if kept is not None and kept[0] == mark:
            return kept[1]
        answer = Answer(_handled(admitted.operation, ctx))
        if ctx.lasts and mark >= 0:
            self._lasting[key] = mark, answer
            if len(self._lasting) > MOST_LASTING:
                del self._lasting[next(iter(self._lasting))]
        return answer

    def _write(self, operation: Operation, ctx: Context) -> Result:
        member = token_member(operation.service, operation.name)
        token = ctx.params.get(member) if member is not None else None
        for attempt in range(4):
            try:
                with self.cloud.database.unit(ctx.scope, write=True, now=ctx.now) as unit:
                    ctx._unit = unit
                    ctx.begin()
                    if token and (before := tokens.recall(ctx, token)) is not None:
                        return before
                    result = _handled(operation, ctx)
                    if operation.service == "ec2" and operation.name not in SOME_TAGGED:
                        ctx.refuse_stray_tags()
                    if token:
                        tokens.keep(ctx, token, result)
                    audit.record(ctx)
                return result
            except (DBAPIError, self.cloud.database.faults) as fault:
                # Two writers met (PostgreSQL): nothing of this attempt was kept; the next one sees the other's rows.
                if attempt == 3 or not _met(fault):
                    raise
        raise AssertionError("unreachable")

    def _translate(self, operation: Operation, fact: NativeError) -> Exception:
        for kind in type(fact).__mro__:
            named = operation.raises.get(kind) or FALLBACKS.get(operation.service, {}).get(kind)
            if named is not None:
                return AWSError(named, str(fact)) if isinstance(named, str) else named(fact)
        return fact

    def translate(self, operation: Operation, fault: Exception) -> Exception:
        """What an operation answers where its writing failed; the fault itself when nothing is known of it."""
        found = shortage(fault)
        return fault if found is None else self._translate(operation, found)


def _handled(operation: Operation, ctx: Context) -> Result:
    result = operation.handler(ctx, ctx.params) or {}
    return result if ctx.besides is None else {**result, **ctx.besides}


def _met(fault: Exception) -> bool:
    """Whether a database error says that another transaction came first: unique violation, a row that
    just went, deadlock, serialisation."""
    code = getattr(getattr(fault, "orig", fault), "sqlstate", None)
    return code in ("23503", "23505", "40001", "40P01")


def invoke(dispatcher: Dispatcher, call: Call) -> Answer:
    """Both phases at once, for callers that have the whole body."""
    return dispatcher.perform(dispatcher.admit(call))


__all__ = ["Admitted", "Answer", "Dispatcher", "Params", "invoke"]
