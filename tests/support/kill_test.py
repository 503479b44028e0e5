"""SIGKILLs at random moments over everything that writes a bundle, with a reader beside them.

    python tests/support/kill_test.py [KILLS [SEED]]           200 and 0 unless given; some ten minutes

Runs `export`, `calibrate`, `policy --set` and `validate --record` on one bundle again and again and kills each: half of
them at a moment drawn from the time that a whole run takes, half within milliseconds of the first temporary file. A
reader opens the bundle all the while. Every open must succeed, or say MissingFileError before the first export has
ended; after one whole run of each command nothing may be left but the bundle. Exit code 1 otherwise.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOON = 0.02  # seconds: what a manifest's writing takes, some times over

READER = """
import json, sys, time
from dvt_edge.device.bundle import CascadeBundle

found, stop = {}, False
while not stop:
    try:
        CascadeBundle.open(sys.argv[1])
        said = "opens"
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
        if type(error).__name__ == "MissingFileError" and "no such bundle" in said and "opens" not in found:
            said = "not there yet"
    found[said] = found.get(said, 0) + 1
    time.sleep(0.002)
    import select
    stop = bool(select.select([sys.stdin], [], [], 0)[0])
print(json.dumps(found))
"""


@dataclass
class Outcome:
    kills: Counter[str]  # by command; of those that were still running
    opens: dict[str, int]  # by what the reader was told
    left: list[str]  # after one whole run of each command, beside what should be there

    @property
    def wrong(self) -> list[str]:
        return [f"{n} x {said}" for said, n in self.opens.items() if said not in ("opens", "not there yet")] + self.left


def environment(temporary: Path) -> dict[str, str]:
    own = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "TMPDIR": str(temporary), "ORT_DISABLE_TELEMETRY": "1"}
    return {**os.environ, **own, "OMP_NUM_THREADS": "1"}


def start(command: list[str], temporary: Path) -> subprocess.Popen[bytes]:
    nothing = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment(temporary), stdin=nothing, stdout=nothing, stderr=nothing)


@contextlib.contextmanager
def reader(bundle: Path, temporary: Path) -> Iterator[dict[str, int]]:
    """Opens the bundle all the time; what it was told is there when the block has ended."""
    found: dict[str, int] = {}
    command, pipe = [sys.executable, "-c", READER, str(bundle)], subprocess.PIPE
    process = subprocess.Popen(command, env=environment(temporary), stdin=pipe, stdout=pipe, text=True)
    try:
        yield found
    finally:
        found.update(json.loads(process.communicate("\n")[0]))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def partial(folder: Path) -> bool:
    return any(name.endswith(".partial") for name in names_in(folder))


def kill(process: subprocess.Popen[bytes], after_s: float, folder: Path | None) -> bool:
    """After so many seconds, counted from the first temporary file in `folder` if one is given; False: it had ended."""
    while folder is not None and not partial(folder) and process.poll() is None:
        time.sleep(0.0005)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
        return False
    process.send_signal(signal.SIGKILL)
    process.wait()
    return True


def kill_all(
    bundle: Path,
    commands: dict[str, list[str]],
    kills: int,
    seed: int,
    say: Callable[[str], None],
    early: Sequence[float] = (0.5, 3.0, 6.0),
) -> Outcome:
    """`commands` in the order in which they make the bundle from nothing; four, the costliest first.

    The first is killed after each of `early` seconds, before there is a bundle.
    """
    r, folder = random.Random(seed), bundle.parent
    outcome = Outcome(Counter(), {}, [])
    with tempfile.TemporaryDirectory() as name, reader(bundle, temporary := Path(name)) as opens:
        first = next(iter(commands))
        for after in early:  # onto nothing
            outcome.kills[first] += kill(start(commands[first], temporary), after, None)
        took = {}
        for what, command in commands.items():
            begun = time.monotonic()
            if code := start(command, temporary).wait():
                raise RuntimeError(f"{what}: exit code {code}")
            took[what] = time.monotonic() - begun
        should, kept = names_in(folder), names_in(temporary)  # the latter: torch's own cache
        while (done := outcome.kills.total()) < kills:
            (what,) = r.choices(list(commands), [1, 3, 8, 2])
            process = start(commands[what], temporary)
            if r.random() < 0.5:
                outcome.kills[what] += kill(process, r.uniform(0, took[what]), None)
            else:
                outcome.kills[what] += kill(process, r.uniform(0, SOON), folder)
            if outcome.kills.total() > done and (done + 1) % 20 == 0:
                say(f"{done + 1} kills; {len(names_in(folder) - should)} files left by now")
        for what, command in commands.items():
            if code := start(command, temporary).wait():
                outcome.left.append(f"{what} after the kills: exit code {code}")
        outcome.left += [f"{n} is left" for n in sorted(names_in(folder) - should)]
        outcome.left += [f"{n} is left in the temporary folder" for n in sorted(names_in(temporary) - kept)]
        outcome.left += [f"{n} is gone" for n in sorted(should - names_in(folder))]
        outcome.opens = opens
    return outcome


def real_commands(folder: Path) -> tuple[Path, dict[str, list[str]]]:
    """The bundle and the commands, on the shipped cascade."""
    bundle, python = folder / "onnx-fp32", [sys.executable, "-m", "dvt_edge"]
    policy = folder / "policy.json"
    policy.write_text(json.dumps({"otherwise": "full", "allow_uncertified": True}))
    logits = ["--data", "sample:cifar10-test", "--limit", "60"]
    return bundle, {
        "export": [*python, "export", "zoo:dvt_cifar10", str(folder), "-t", "onnx-fp32", "--limit", "8"],
        "calibrate": [*python, "calibrate", str(bundle), *logits],
        "policy --set": [*python, "policy", str(bundle), "--set", str(policy)],
        "validate --record": [*python, "validate", str(bundle), "zoo:dvt_cifar10", "--limit", "4", "--record"],
    }


def main() -> None:
    kills, seed = (int(sys.argv[k]) if len(sys.argv) > k else default for k, default in ((1, 200), (2, 0)))
    with tempfile.TemporaryDirectory() as folder:
        bundle, commands = real_commands(Path(folder))
        outcome = kill_all(bundle, commands, kills, seed, lambda line: print(line, flush=True))
    print(f"{outcome.kills.total()} SIGKILLs: {', '.join(f'{what} {n}' for what, n in outcome.kills.items())}")
    print(f"a reader beside them: {', '.join(f'{said} {n}' for said, n in outcome.opens.items())}")
    print("\n".join(outcome.wrong) or "nothing was left")
    sys.exit(bool(outcome.wrong))


if __name__ == "__main__":
    main()
