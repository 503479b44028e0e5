"""Makes a long log of a short one: its images over and over, with new numbers and times, and a sample each second.

python tests/support/large_log.py SHORT LONG [RECORDS]          1000000 unless given
"""

from __future__ import annotations

import sys
from pathlib import Path

from dvt_edge.device.device_log import ImageRecord, StateRecord, encode
from dvt_edge.device.log_reader import LogReader

EVERY = 30  # images a sample


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


if __name__ == "__main__":
    lengthen(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1_000_000)
