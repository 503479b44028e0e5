"""Where the chunks of a fleet are computed: in this process, in several local ones, or on Ray.

Each engine is a function (task, chunks, workers) -> (chunk, task(chunk)) in whatever order they are done. The task is
picklable and gives the same for a chunk wherever it runs.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from dvt_edge.errors import DvtEdgeError, EngineError, packages
from dvt_edge.machine import spread

Engine = Literal["local", "ray"]
Task = Callable[[int], bytes]
AHEAD = 4  # tasks a worker that Ray holds ready
STORE = 128 * 2**20  # bytes of Ray's object store; a chunk's rows take some 100 kB


def compute(engine: Engine, task: Task, chunks: Sequence[int], workers: int) -> Iterator[tuple[int, bytes]]:
    """Raises EngineError where a worker died, MissingPackageError without Ray, or what the task raises."""
    return on_ray(task, chunks, workers) if engine == "ray" else spread(task, chunks, workers)


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
