"""The machine in words, for figures that mean nothing without it; and the memory that a process took."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path


def describe() -> str:
    """Processor, cores and operating system: "AMD EPYC, 2 cores, x86_64, Linux"."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    elif sys.platform == "darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        cpu = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or cpu
    features = [f for f in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if f in cpu_flags()]
    kind = " ".join((platform.machine(), *features))
    return f"{cpu}, {os.cpu_count()} cores, {kind}, {platform.system()}"


def cpu_flags() -> set[str]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())


def free_memory() -> int:
    """Bytes that processes can still take; where the system does not say, half of all that there is."""
    info = Path("/proc/meminfo")
    if info.is_file() and (kib := re.search(r"MemAvailable:\s*(\d+)", info.read_text())):
        return 1024 * int(kib[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 if hasattr(os, "sysconf") else 0


def peak_memory() -> int:
    """The most resident memory so far, in bytes; on Linux this program's, not that of what started it."""
    status = Path("/proc/self/status")
    if status.is_file() and (kib := re.search(r"VmHWM:\s*(\d+)", status.read_text())):
        return 1024 * int(kib[1])
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
