"""The one fault that reading and routing raise."""

from __future__ import annotations


class WireFault(Exception):
    """A request that cannot be understood: AWS's code, a message, an HTTP status and further fields of the envelope.

    `service` and `protocol` tell in whose envelope to answer where the request's route is not known.
    """

    def __init__(
        self, code: str, message: str = "", status: int = 400, *, service: str = "", protocol: str = "", **fields: str
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.service = service
        self.protocol = protocol
        self.fields = fields
