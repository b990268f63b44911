"""Policies as the evaluator uses them: statements with compiled matchers, and sets of policies indexed by action."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from compat.iam.policy.conditions import compile_clause
from compat.iam.policy.document import Document, Statement, parse
from compat.iam.policy.patterns import arns_matcher
from compat.iam.policy.request import AccessRequest

_KEEP_ACTIONS = 4096


def action_matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Matches `service:Action` without regard to case; `*` and `?` are wildcards."""
    if "*" in patterns:
        return lambda action: True
    exact = frozenset(pattern.lower() for pattern in patterns if "*" not in pattern and "?" not in pattern)
    wild = [
        re.escape(pattern.lower()).replace(r"\*", ".*").replace(r"\?", ".")
        for pattern in patterns
        if "*" in pattern or "?" in pattern
    ]
    if not wild:
        return lambda action: action.lower() in exact
    fullmatch = re.compile("|".join(wild), re.DOTALL).fullmatch
    return lambda action: action.lower() in exact or fullmatch(action.lower()) is not None


class CompiledStatement:
    """One statement, ready to be asked. `matches` leaves the action out: its policy set has looked at that."""

    __slots__ = ("action", "allow", "any_resource", "conditions", "negate_resource", "resource", "statement")

    def __init__(self, statement: Statement, variables: bool) -> None:
        self.statement = statement
        self.allow = statement.allow
        matches = action_matcher(statement.actions)
        self.action = (lambda action: not matches(action)) if statement.except_actions else matches
        resources = statement.resources
        self.negate_resource = statement.except_resources
        self.any_resource = resources is None or ("*" in resources and not statement.except_resources)
        self.resource = arns_matcher(resources or ("*",), variables=variables)
        self.conditions = tuple(
            compile_clause(clause.operator, clause.key, clause.values, variables=variables)
            for clause in statement.conditions
        )

    def matches(self, request: AccessRequest) -> bool:
        """Whether resource and conditions hold."""
        if not self.any_resource and self.resource(request.resource, request) is self.negate_resource:
            return False
        for condition in self.conditions:
            if not condition(request):
                return False
        return True


@lru_cache(maxsize=4096)
def compile_text(text: str) -> tuple[Document, tuple[CompiledStatement, ...]]:
    """The compiled statements of a stored document, kept by its text."""
    document = parse(text)
    return document, tuple(CompiledStatement(one, document.variables) for one in document.statements)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy under the name by which a decision cites it; `arn` is None for inline, session and resource policies."""

    name: str
    arn: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Cited:
    """A statement that decided, and the policy it stands in."""

    policy: Policy
    statement: Statement


class PolicySet:
    """Policies that count together (all identity policies of a user, say), indexed by action as they are asked."""

    __slots__ = ("_by_action", "policies")

    def __init__(self, policies: Iterable[Policy]) -> None:
        self.policies = tuple(policies)
        self._by_action: dict[str, tuple[_Candidates, _Candidates]] = {}

    def candidates(self, action: str) -> tuple[_Candidates, _Candidates]:
        """The Deny and the Allow statements whose action part matches."""
        found = self._by_action.get(action)
        if found is None:
            both = [
                (statement, policy)
                for policy in self.policies
                for statement in compile_text(policy.text)[1]
                if statement.action(action)
            ]
            found = (
                tuple(pair for pair in both if not pair[0].allow),
                tuple(pair for pair in both if pair[0].allow),
            )
            if len(self._by_action) >= _KEEP_ACTIONS:
                self._by_action.clear()
            self._by_action[action] = found
        return found

    def denial(self, request: AccessRequest) -> Cited | None:
        """The first Deny that holds."""
        for statement, policy in self.candidates(request.action)[0]:
            if statement.matches(request):
                return Cited(policy, statement.statement)
        return None

    def permission(self, request: AccessRequest) -> Cited | None:
        """The first Allow that holds."""
        for statement, policy in self.candidates(request.action)[1]:
            if statement.matches(request):
                return Cited(policy, statement.statement)
        return None


_Candidates = tuple[tuple[CompiledStatement, Policy], ...]
EMPTY = PolicySet(())
