"""Work in several processes: fresh ones (spawned, so that no lock is inherited), which end with this one."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from dvt_edge.errors import EngineError

Item = TypeVar("Item", int, str)
Done = TypeVar("Done")


def spread(task: Callable[[Item], Done], items: Sequence[Item], workers: int) -> Iterator[tuple[Item, Done]]:
    """(item, task(item)) in whatever order they are done: in this process where `workers` is 1, else in as many.

    The task is picklable. Raises EngineError where a process died, or what the task raises.
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
