"""The machine: in words, for figures that mean nothing without it; its memory; and work in several of its processes."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from dvt_edge.errors import EngineError

Item = TypeVar("Item", int, str)
Done = TypeVar("Done")


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


def spread(task: Callable[[Item], Done], items: Sequence[Item], workers: int) -> Iterator[tuple[Item, Done]]:
    """(item, task(item)) in whatever order they are done: in this process where `workers` is 1, else in as many.

    These are fresh ones (spawned, so that no lock is inherited), which end with this one. The task is picklable. Raises
    EngineError where a process died, or what the task raises: of several items that fail, the first one's, so that an
    error is the same in one process and in many.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    if workers == 1:
        yield from ((item, task(item)) for item in items)
        return
    pool = ProcessPoolExecutor(min(workers, max(1, len(items))), multiprocessing.get_context("spawn"))
    others = set(multiprocessing.active_children())
    try:
        with deaf():
            futures = {pool.submit(task, item): item for item in items}
        for future in as_completed(futures):
            if future.exception():
                future = next(f for f in futures if f.exception())  # waits for the items before it
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise EngineError("a worker process died, perhaps for want of memory; run again, with fewer workers") from error
    except BaseException:  # Ctrl-C among them: what is done is kept, what runs need not end
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Processes that start in the block ignore Ctrl-C, which a terminal sends to all: this one answers for them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
