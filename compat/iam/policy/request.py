"""What is asked: one action on one resource by one principal, with the context that conditions read."""

from __future__ import annotations

from collections.abc import Callable

from compat.iam.principal import Principal

ContextValue = None | str | tuple[str, ...]
"""A condition key's value: absent, single, or several. Numbers, dates and booleans are text, as on the wire."""


class AccessRequest:
    """One question to the evaluator. `context` answers condition keys, asked in lower case and only when needed."""

    __slots__ = ("action", "context", "principal", "resource")

    def __init__(
        self, principal: Principal, action: str, resource: str, context: Callable[[str], ContextValue]
    ) -> None:
        self.principal = principal
        self.action = action
        self.resource = resource
        self.context = context

    def on(self, resource: str) -> AccessRequest:
        """The same question about another resource, with the same context."""
        return AccessRequest(self.principal, self.action, resource, self.context)
