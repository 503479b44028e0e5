"""A phone whose power is known: its log, as a gauge of some kind would have it, and the right answers.

Power is `idle_w`, and `busy_w` above it while an image is in work; nothing here is shared with what measures it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dvt_edge.device.device_log import ImageRecord, LogHeader, StateRecord, encode

STAGE_MS = (2.0, 3.0, 4.0)
REST_MS = 1.0
VOLTS = 3.9
Change = Callable[[ImageRecord | StateRecord], ImageRecord | StateRecord]


@dataclass(frozen=True)
class Phone:
    """`gauge_s` is the time over which its gauge averages, 0 for a reading at once; `quantum_uah` 0: no counter.

    The gauge shows the mean of the last `gauge_s`; or "held", that of the last whole slot of `gauge_s`; or "fading", a
    mean that forgets with that time constant.
    """

    idle_w: float = 0.975
    busy_w: float = 15.6
    gauge_s: float = 2.0
    gauge: Literal["mean", "held", "fading"] = "mean"
    bursts: int = 1
    images: int = 600  # of a burst
    period_s: float = 0.1
    pause_s: float = 0.0
    suspend_s: float = 0.0  # asleep after the first burst
    quantum_uah: int = 0
    noise: float = 0.01
    sign: int = -1
    screen: bool = False
    minute_s: float = 60.0
    seed: int = 0

    def log(self, path: Path, change: Change = lambda record: record) -> Path:
        dice = np.random.default_rng(self.seed)
        begin = 1000.0 + self.minute_s
        spans, now, asleep = [], begin, (0.0, 0.0)
        for burst in range(self.bursts):
            if burst:
                if burst == 1 and self.suspend_s:
                    asleep = (now + 5, now + 5 + self.suspend_s)
                    now = asleep[1] + 5
                now += self.pause_s
            for k in range(self.images):
                start = now + k * self.period_s + dice.uniform(0, 0.2) * self.period_s
                ran = 3 if k % 2 else 1 + k // 2 % 3
                spans.append((start, start + (sum(STAGE_MS[:ran]) + REST_MS) / 1e3, ran))
            now = spans[-1][1]
        last = now + self.minute_s
        edges = np.array([t for start, end, _ in spans for t in (start, end)])
        worked = np.concatenate([[0.0], np.cumsum(np.diff(edges) * (np.arange(len(edges) - 1) % 2 == 0))])
        times = np.arange(1000.0, last, 1.0) + dice.uniform(-0.1, 0.1, int(np.ceil(last - 1000.0)))
        times = times[(times <= asleep[0]) | (times >= asleep[1])]

        def work(t: np.ndarray) -> np.ndarray:
            return np.interp(t, edges, worked)

        if self.gauge_s and self.gauge == "held":
            slot = np.floor(times / self.gauge_s) * self.gauge_s
            share = (work(slot) - work(slot - self.gauge_s)) / self.gauge_s
        elif self.gauge_s and self.gauge == "fading":
            fine = np.arange(1000.0, last, 0.005)
            busy = np.diff(work(fine)) / 0.005
            mean, level = np.zeros(len(busy)), 0.0
            for k, value in enumerate(busy.tolist()):
                level += (value - level) * 0.005 / self.gauge_s
                mean[k] = level
            share = np.interp(times, fine[1:], mean)
        elif self.gauge_s:
            share = (work(times) - work(times - self.gauge_s)) / self.gauge_s
        else:
            share = (np.searchsorted(edges, times) % 2).astype(float)
        watts = self.idle_w + self.busy_w * share
        current = self.sign * watts / VOLTS * 1e6 * (1 + dice.normal(0, self.noise, len(times)))
        slept = np.where(times > asleep[0], asleep[1] - asleep[0], 0.0)
        joules = self.idle_w * (times - 1000.0 - slept) + self.busy_w * work(times)
        charge = 3_000_000 - joules / VOLTS / 3600 * 1e6
        records: list[ImageRecord | StateRecord] = []
        for k, t in enumerate(times.tolist()):
            event = "state" if begin <= t <= now + 1 else "idle"
            counter = int(charge[k] // self.quantum_uah) * self.quantum_uah if self.quantum_uah else None
            records.append(
                StateRecord(
                    0,
                    t,
                    event,  # type: ignore[arg-type]
                    self.screen,
                    False,
                    awake_s=t - float(slept[k]) - 500,
                    charge_uah=counter,
                    current_ua=round(float(current[k])),
                    voltage_mv=round(VOLTS * 1e3),
                )
            )
        for k, (start, end, ran) in enumerate(spans):
            total = (end - start) * 1e3
            answer = {"exit": ran - 1, "label": 0, "label_name": "a", "confidence": (0.5,) * ran}
            times_ms = {"stage_ms": STAGE_MS[:ran], "preprocess_ms": 0.5, "total_ms": total}
            words = {"point": "balanced", "degraded": False, "uncertified": False}
            records.append(ImageRecord(0, end, str(k), "0" * 64, **answer, **times_ms, **words))  # type: ignore[arg-type]
        records.sort(key=lambda record: record.time_s)
        lines = [encode(HEADER)]
        for seq, record in enumerate(records):
            lines.append(encode(change(dataclasses.replace(record, seq=seq))))
        path.write_bytes(b"".join(lines))
        return path

    @property
    def stage_mj(self) -> tuple[float, ...]:
        return tuple(self.busy_w * ms for ms in STAGE_MS)


HEADER = LogHeader(
    2,
    "c" * 64,
    "onnx-int8",
    3,
    "a made-up phone",
    "b" * 64,
    2,
    "tests 1",
    "onnxruntime 1",
    "an OS",
    ("CPUExecutionProvider",) * 3,
    1,
    "battery",
)
