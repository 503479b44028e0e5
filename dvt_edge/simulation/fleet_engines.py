"""Where the chunks of a fleet are computed: in this process, in several local ones, or on Ray.

Each engine is a function (task, chunks, workers) -> (chunk, task(chunk)) in whatever order they are done. The task is
picklable and gives the same for a chunk wherever it runs.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from dvt_edge.errors import DvtEdgeError, EngineError, packages

Engine = Literal["local", "ray"]
Task = Callable[[int], bytes]
AHEAD = 4  # tasks a worker that Ray holds ready
STORE = 128 * 2**20  # bytes of Ray's object store; a chunk's rows take some 100 kB


def compute(engine: Engine, task: Task, chunks: Sequence[int], workers: int) -> Iterator[tuple[int, bytes]]:
    """Raises EngineError where a worker died, MissingPackageError without Ray, or what the task raises."""
    return {"local": local, "ray": on_ray}[engine](task, chunks, workers)


def local(task: Task, chunks: Sequence[int], workers: int) -> Iterator[tuple[int, bytes]]:
    """This process where `workers` is 1, else as many fresh ones (spawned, so that no lock is inherited)."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    if workers == 1:
        yield from ((chunk, task(chunk)) for chunk in chunks)
        return
    pool = ProcessPoolExecutor(min(workers, max(1, len(chunks))), multiprocessing.get_context("spawn"))
    others = set(multiprocessing.active_children())
    try:
        with deaf():
            futures = {pool.submit(task, chunk): chunk for chunk in chunks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise EngineError("a worker process died, perhaps for want of memory; run again to go on") from error
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


def on_ray(task: Task, chunks: Sequence[int], workers: int) -> Iterator[tuple[int, bytes]]:
    """The cluster of RAY_ADDRESS, or a Ray started here with `workers` processors and stopped at the end.

    On a cluster the folder of logits has to be at the same path on every node. No usage report, no dashboard.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with packages("the engine ray"):
        import ray
    started = not ray.is_initialized()
    if started:
        of_cluster = bool(os.environ.get("RAY_ADDRESS"))
        here = {} if of_cluster else {"num_cpus": workers, "include_dashboard": False, "object_store_memory": STORE}
        ray.init(log_to_driver=False, logging_level="ERROR", configure_logging=True, **here)
    try:
        shared = ray.put(task)
        remote = ray.remote(run_task)
        waiting = iter(chunks)
        running = {remote.remote(shared, k): k for k in itertools.islice(waiting, AHEAD * workers)}
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            chunk = running.pop(done)
            yield chunk, ray.get(done)
            running |= {remote.remote(shared, k): k for k in itertools.islice(waiting, 1)}
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, DvtEdgeError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise EngineError(f"Ray: {error}; what is done is kept, run again to go on") from error
    finally:
        if started:
            ray.shutdown()


def run_task(task: Task, chunk: int) -> bytes:
    return task(chunk)
