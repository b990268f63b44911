"""Which accelerator guests get: found out by booting one, since a /dev/kvm that opens proves nothing.

Under some nested hypervisors KVM takes a guest, reports no fault, and runs it instruction by instruction: a stock
system never comes up. So a guest of one sector is started, on the processor that guests get, that has to count far and
then say a word within a deadline. The verdict is remembered for as long as kernel, processor and QEMU stay the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import subprocess
import tempfile
from pathlib import Path

EMULATOR = "qemu-system-x86_64"
DEADLINE = 5.0
"""Seconds in which a guest under a working KVM has long said its word: it takes some tenths of one."""
COUNT = 100_000_000
"""So far the guest counts: a tenth of a second's work for a processor, minutes for one that is interpreted."""
WORD = b"nephele"

_log = logging.getLogger(__name__)


def boot_sector() -> bytes:
    """A guest of 512 bytes: counts down from `COUNT`, writes `WORD` to its first serial port, and ends its machine
    through the exit device."""
    code = bytearray(b"\x66\xb9" + COUNT.to_bytes(4, "little"))  # mov ecx, COUNT
    code += b"\x66\x49\x75\xfc"  # dec ecx; jnz back
    code += b"\xba\xf8\x03"  # mov dx, 0x3f8
    for byte in WORD:
        code += bytes((0xB0, byte, 0xEE))  # mov al, byte; out dx, al
    code += b"\xba\xf4\x00\xb0\x00\xee"  # mov dx, 0xf4; mov al, 0; out dx, al
    code += b"\xf4\xeb\xfd"  # hlt; jmp back
    return bytes(code.ljust(510, b"\0")) + b"\x55\xaa"


def choose(folder: Path) -> str:
    """`kvm` where a guest really ran under it, else `qemu` (no acceleration). `folder` keeps the verdict."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "qemu"
    key, file = _key(), folder / "accelerator.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(file.read_text())
        if kept["key"] == key:
            return "kvm" if kept["accelerator"] == "kvm" else "qemu"
    verdict = "kvm" if boots("kvm") else "qemu"
    _log.info("guests run under %s: found out by booting one", verdict)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_text(json.dumps({"key": key, "accelerator": verdict}))
    return verdict


def boots(accelerator: str, deadline: float = DEADLINE) -> bool:
    """Whether a guest comes up under `accelerator` (`kvm`, `tcg`) within `deadline` seconds."""
    with tempfile.TemporaryDirectory(prefix="nephele-probe-") as folder:
        sector = Path(folder) / "sector"
        sector.write_bytes(boot_sector().ljust(1 << 20, b"\0"))
        processor = "host" if accelerator == "kvm" else "max"
        command = [EMULATOR, "-accel", accelerator, "-cpu", processor, "-machine", "q35", "-m", "16"]
        command += ["-nodefaults", "-display", "none"]
        command += ["-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
        command += ["-drive", f"file={sector},format=raw,if=virtio"]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=deadline)
        except (subprocess.TimeoutExpired, OSError):
            return False
        return WORD in done.stdout


def _key() -> str:
    """What the verdict depends on."""
    model = ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("vendor_id", "model name", "flags")):
                model += line
            elif not line:
                break
    emulator = ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        emulator = subprocess.run([EMULATOR, "--version"], capture_output=True, text=True, timeout=20).stdout
    facts = f"{platform.release()}|{platform.version()}|{model}|{emulator}"
    return hashlib.sha256(facts.encode()).hexdigest()
