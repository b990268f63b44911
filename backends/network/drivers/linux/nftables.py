"""libnftables: whole transactions as text, in the namespace of the thread that opened it."""

from __future__ import annotations

import ctypes
from functools import lru_cache

from backends.errors import DriverError

LIBRARY = "libnftables.so.1"


@lru_cache(1)
def library() -> ctypes.CDLL:
    """The C library. `DriverError` where it is not installed."""
    try:
        lib = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise DriverError(f"{LIBRARY} is missing (Debian and Ubuntu: apt-get install libnftables1)") from error
    lib.nft_ctx_new.restype = ctypes.c_void_p
    for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
        function = getattr(lib, name)
        function.restype, function.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    for name in ("nft_ctx_buffer_error", "nft_ctx_buffer_output", "nft_ctx_free"):
        getattr(lib, name).argtypes = [ctypes.c_void_p]
    lib.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    lib.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    return lib


JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON


class Nftables:
    """One context. It is bound to the namespace of the thread that makes it."""

    def __init__(self) -> None:
        self._library = library()
        self._context = self._library.nft_ctx_new(0)
        self._library.nft_ctx_buffer_error(self._context)
        self._library.nft_ctx_buffer_output(self._context)

    def run(self, text: str) -> str:
        """Run commands as one transaction, all or nothing; what they print. `DriverError` with nftables' own words."""
        status = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        printed: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        said: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        if status != 0:
            raise DriverError(f"nftables refuses: {said.decode(errors='replace')[:2000]}")
        return printed.decode(errors="replace")

    def list(self) -> str:
        """The whole ruleset, as JSON."""
        self._library.nft_ctx_output_set_flags(self._context, JSON)
        try:
            return self.run("list ruleset")
        finally:
            self._library.nft_ctx_output_set_flags(self._context, 0)

    def close(self) -> None:
        """Give the context back."""
        self._library.nft_ctx_free(self._context)
