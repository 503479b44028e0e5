"""How long a log of a million records takes to validate, and in how much memory.

    python tests/support/large_log.py BUNDLE [RECORDS]          1000000 unless given; some three minutes

A short log of a device (`device_process.py`, the package's test sample) is lengthened: its images over and over, with
new numbers and times, and a sample each second. The host's run of these images is cached before.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dvt_edge import machine
from dvt_edge.data.shipped import ZOO, shipped
from dvt_edge.device.device_log import ImageRecord, StateRecord, encode
from dvt_edge.device.log_reader import LogReader

EVERY = 30  # images a sample
ROOT = Path(__file__).parents[2]


def lengthen(short: Path, path: Path, count: int) -> None:
    reader = LogReader(short)
    records = list(reader)
    images = [
        encode(r).split(b'"seq":%d,"time_s":%.6f' % (r.seq, r.time_s)) for r in records if isinstance(r, ImageRecord)
    ]
    sample = next(r for r in records if isinstance(r, StateRecord))
    assert sample.awake_s is not None
    with path.open("wb") as file:
        file.write(encode(reader.header))
        for seq in range(count):
            now = 1000 + seq / EVERY
            if seq % EVERY == 0:
                state = StateRecord(
                    seq, now, "state", False, False, awake_s=now - 500, temperature_c=30 + seq / count * 9
                )
                file.write(encode(state))
            else:
                before, after = images[seq % len(images)]
                file.write(before + b'"seq":%d,"time_s":%.6f' % (seq, now) + after)


def main(bundle: Path, count: int) -> int:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "1"}
    with tempfile.TemporaryDirectory() as folder:
        short, long, cache = (Path(folder) / name for name in ("short.jsonl", "long.jsonl", "cache"))

        def run(*words: object) -> int:
            command = [sys.executable, *map(str, words)]
            return subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode

        def validate(log: Path) -> int:
            known = ("--data", "sample:cifar10-test", "--cache", cache)
            return run("-m", "dvt_edge", "validate", bundle, "--device-log", log, *known)

        device = Path(__file__).with_name("device_process.py")
        if code := run(device, bundle, shipped(ZOO, ".npz")["cifar10-test"], short) or validate(short):
            return code
        lengthen(short, long, count)
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        code = validate(long)
        seconds = time.monotonic() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{machine.describe()}: {count:,} records, {long.stat().st_size / 1e9:.2f} GB, exit code {code}")
        print(f"{seconds:.0f} s, of these {worked:.0f} s of processor time, {after.ru_maxrss >> 10} MiB at most")
        print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000))
