"""A device to test against: a process of its own that runs a bundle as an app does, logs it, and can be made to err.

    python tests/support/device_process.py BUNDLE IMAGES.npz LOG [--fault NAME] [--every-stage] [--point NAME] ...

It imports numpy, Pillow, an engine and dvt_edge.device only, and shares no code with the hypotheses that find its
faults. Stages run for real; clock, times, battery and heat are made up from a seed, so that a log repeats.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from device_engines import engine_of, open_stage
from PIL import Image

from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.device_log import ErrorRecord, ImageRecord, LogHeader, LogWriter, StateRecord
from dvt_edge.device.exit_rule import confidence, decide, last_stage, leaves
from dvt_edge.device.preprocess import preprocess
from dvt_edge.errors import NotFiniteError

# Where it happens: in the pixels, before they are logged; or on the way of the pixels into the engine, unseen.
FAULTS = (
    "channel-order",
    "resize-filter",
    "resize-nearest",
    "squash",
    "no-normalisation",
    "double-normalisation",
    "rotated",
    "video-range",
    "wrong-thresholds",
    "stale-artifact",
    "state-mix-up",
    "dropped-stage",
    "float16-overflow",
    "shuffled-labels",
    "clock-jump",
    "wrong-provider",
)


class Phone:
    """A battery, a clock and heat, made up."""

    def __init__(self, seed: int, throttled: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.time_s, self.awake_s, self.celsius, self.charge = 1000.0 + seed, 500.0, 28.0, 3.0e6
        self.heats, self.level = (0.3 if throttled else 0.0005), 0.8

    @property
    def slow(self) -> float:
        return 1.0 + max(0.0, self.celsius - 36.0) * 0.12

    def passes(self, seconds: float, watts: float) -> None:
        self.time_s, self.awake_s = self.time_s + seconds, self.awake_s + seconds
        self.charge -= watts / 3.9 * seconds / 3600 * 1e6
        self.celsius += (self.heats * watts - 0.001 * (self.celsius - 28.0)) * seconds

    def sleeps(self, seconds: float) -> None:
        self.time_s += seconds

    def sample(self, event: str, watts: float, screen_on: bool = False) -> StateRecord:
        thermal = "nominal" if self.celsius < 38 else "fair" if self.celsius < 42 else "serious"
        return StateRecord(
            0,
            self.time_s,
            event,
            screen_on=screen_on,
            charging=False,
            awake_s=self.awake_s,
            battery_level=self.level,
            charge_uah=round(self.charge),
            current_ua=round(-watts / 3.9 * 1e6),
            voltage_mv=3900,
            temperature_c=self.celsius,
            thermal=thermal,
            low_power=False,
        )


def crooked(image: np.ndarray, size: int, resize: int, fault: str) -> np.ndarray:
    """The pixels of a device whose preprocessing is wrong."""
    picture = Image.fromarray(image)
    if fault == "squash":
        return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))
    if fault in ("resize-filter", "resize-nearest"):  # as a texture sampler does it: no antialiasing
        height, width = image.shape[:2]
        scale = min(height, width) / resize
        new_h, new_w = max(resize, int(height / scale)), max(resize, int(width / scale))
        ys, xs = ((np.arange(n) + 0.5) * old / n - 0.5 for n, old in ((new_h, height), (new_w, width)))
        if fault == "resize-nearest":
            big = image[np.clip(np.rint(ys), 0, height - 1).astype(int)][
                :, np.clip(np.rint(xs), 0, width - 1).astype(int)
            ]
        else:
            y0, x0 = (np.clip(np.floor(v).astype(int), 0, n - 1) for v, n in ((ys, height), (xs, width)))
            y1, x1 = np.minimum(y0 + 1, height - 1), np.minimum(x0 + 1, width - 1)
            fy, fx = np.clip(ys - y0, 0, 1)[:, None, None], np.clip(xs - x0, 0, 1)[None, :, None]
            f = image.astype(float)
            top = f[y0][:, x0] * (1 - fx) + f[y0][:, x1] * fx
            low = f[y1][:, x0] * (1 - fx) + f[y1][:, x1] * fx
            big = np.floor(top * (1 - fy) + low * fy + 0.5).astype(np.uint8)
        top_, left = (new_h - size) // 2, (new_w - size) // 2
        return big[top_ : top_ + size, left : left + size]
    if fault == "rotated":
        return preprocess(np.ascontiguousarray(image.transpose(1, 0, 2)[:, ::-1]), size, resize)
    if fault == "video-range":  # full-range YUV read as if it were of video range
        y, cb, cr = (c.astype(float) for c in np.asarray(picture.convert("YCbCr")).transpose(2, 0, 1))
        y, cb, cr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
        rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
        return preprocess(np.clip(np.rint(255 * rgb), 0, 255).astype(np.uint8), size, resize)
    return preprocess(image, size, resize)


def fed(pixels: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...], fault: str) -> np.ndarray:
    """What a wrong conversion makes of right pixels."""
    if fault == "channel-order":
        return pixels[..., ::-1]
    unit = pixels / 255.0
    if fault == "double-normalisation":  # normalised in the app, and then in the graph
        return np.clip(np.rint(255 * (unit - mean) / std), 0, 255).astype(np.uint8)
    if fault == "no-normalisation":  # what the graph takes off was put on
        return np.clip(np.rint(255 * (np.array(mean) + np.array(std) * unit)), 0, 255).astype(np.uint8)
    return pixels


def decoded_elsewhere(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As another JPEG decoder gives it: other rounding, other smoothing of colour."""
    return np.clip(image.astype(int) + rng.integers(-2, 3, image.shape), 0, 255).astype(np.uint8)


class Device:
    def __init__(self, options: argparse.Namespace) -> None:
        self.o, self.bundle = options, CascadeBundle.open(options.bundle)
        self.m = self.bundle.manifest
        ran = CascadeBundle.open(options.stale) if options.fault == "stale-artifact" else self.bundle
        folder = Path(options.stale if ran is not self.bundle else options.bundle)
        self.stages = [open_stage(folder / s.artifact, s, options.executorch) for s in ran.manifest.stages]
        self.phone = Phone(options.seed, options.throttled)
        self.rng = np.random.default_rng(options.seed + 1)
        self.state: dict[str, np.ndarray] = {}

    def stage(self, k: int, pixels: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Logits of stage k, whose state goes into `state`."""
        outputs = self.stages[k].run({"image": pixels[None], **state})
        logits = outputs.pop("logits")[0]
        if self.o.fault == "float16-overflow" and k == 0:
            with np.errstate(over="ignore"):
                outputs = {n: (v * 3e5).astype(np.float16).astype(np.float32) / 3e5 for n, v in outputs.items()}
        state.update(outputs)
        if self.o.kernel_noise:
            logits = logits + self.rng.normal(0, self.o.kernel_noise, logits.shape).astype(np.float32)
        return logits

    def answer(self, number: int, image: np.ndarray, log: LogWriter) -> ImageRecord | ErrorRecord:
        o, m, phone, fault = self.o, self.m, self.phone, self.o.fault
        size, resize = m.preprocessing.size, m.preprocessing.resize
        if o.other_decoder:
            image = decoded_elsewhere(image, self.rng)
        pixels = np.ascontiguousarray(crooked(image, size, resize, fault))
        inside = ("channel-order", "no-normalisation", "double-normalisation")
        entered = np.ascontiguousarray(fed(pixels, m.preprocessing.mean, m.preprocessing.std, fault))
        if fault in inside and not o.late:
            pixels = entered
        named = m.operating_point(o.point or m.default_operating_point)
        used = m.operating_point(o.wrong_point) if fault == "wrong-thresholds" else named
        stages = len(m.stages)
        last = last_stage(o.max_stage, stages)
        before, self.state, state = self.state, {}, {}
        values, labels, rows, out = [], [], [], None
        for k in range(stages):
            if fault == "dropped-stage" and k == stages - 1:
                break
            if fault == "state-mix-up" and k == 1 and before:
                state.update({n: v for n, v in before.items() if n.endswith("_0")})
            rows.append(self.stage(k, entered, state))
            if k == 0:
                self.state = dict(state)
            values.append(confidence(rows[-1], m.confidence.temperature[k], m.confidence.measure))
            labels.append(int(rows[-1].argmax()))
            if out is None and leaves(values[-1], k, used.thresholds, last):
                out = k
                if not o.every_stage:
                    break
        ran = len(rows)
        stage_ms = [(0.6 + 0.4 * k) * phone.slow * self.rng.lognormal(0, 0.05) for k in range(ran)]
        work = sum(stage_ms) + 0.4
        phone.passes(work / 1e3, 2.4)
        identity = str(number % o.count)
        try:
            end = ran if out is None else out + 1
            found = decide(values[:end], labels[:end])
        except NotFiniteError as error:
            return ErrorRecord(0, phone.time_s, "NotFiniteError", str(error), id=identity)
        names = self.bundle.labels
        if fault == "shuffled-labels":
            names = tuple(sorted(names, key=lambda n: hashlib.sha256(n.encode()).digest()))
        parts: dict[str, Any] = {}
        if o.top5:
            order = [np.argsort(-z, kind="stable")[:5] for z in rows]
            parts["top5_labels"] = tuple(tuple(int(i) for i in ks) for ks in order)
            parts["top5"] = tuple(z[ks] for z, ks in zip(rows, order, strict=True))
        elif not o.no_logits:
            parts["logits"] = tuple(rows)
        return ImageRecord(
            seq=0,
            time_s=phone.time_s,
            id=identity,
            pixels_sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
            exit=found.exit,
            label=found.label,
            label_name=names[found.label],
            confidence=tuple(values),
            stage_ms=tuple(stage_ms),
            preprocess_ms=0.25,
            total_ms=work,
            point=named.name,
            degraded=found.degraded,
            uncertified=True,
            pixels=log.write_pixels(pixels),
            max_stage=o.max_stage,
            **parts,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path, help=".npz with `images`, or a folder of image files")
    parser.add_argument("log", type=Path)
    parser.add_argument("--executorch", type=Path, help="arm/executorch_stage.cpp, compiled: a bundle of ExecuTorch")
    parser.add_argument("--fault", choices=FAULTS, default="")
    parser.add_argument("--late", action="store_true", help="the fault comes after the pixels were logged")
    parser.add_argument("--count", type=int, default=64, help="images of the set")
    parser.add_argument("--records", type=int, default=0, help="images answered; 0: each of the set once")
    parser.add_argument("--point")
    parser.add_argument("--wrong-point", default="fast")
    parser.add_argument("--stale", type=Path, help="the bundle whose artifacts run, for stale-artifact")
    parser.add_argument("--max-stage", type=int)
    parser.add_argument("--every-stage", action="store_true")
    parser.add_argument("--pixels", action="store_true")
    parser.add_argument("--top5", action="store_true")
    parser.add_argument("--no-logits", action="store_true")
    parser.add_argument("--throttled", action="store_true")
    parser.add_argument("--other-decoder", action="store_true")
    parser.add_argument("--kernel-noise", type=float, default=0.0)
    parser.add_argument("--suspend", action="store_true", help="asleep for an hour in the middle, the screen off")
    parser.add_argument("--seed", type=int, default=0)
    o = parser.parse_args()
    device = Device(o)
    m, phone = device.m, device.phone
    if o.images.is_dir():
        files = sorted(o.images.iterdir())
        images = [np.asarray(Image.open(f).convert("RGB")) for f in files[: o.count]]
    else:
        with np.load(o.images) as arrays:
            images = list(arrays["images"][: o.count])
    o.count = len(images)
    manifest = (o.bundle / "manifest.json").read_bytes()
    header = LogHeader(
        2,
        device.bundle.artifacts_sha256,
        m.target,
        len(m.stages),
        "a made-up phone",
        hashlib.sha256(manifest).hexdigest(),
        m.model.classes,
        "device process 1",
        engine_of(o.executorch),
        os.uname().machine,
        tuple("XnnpackExecutionProvider" if o.fault == "wrong-provider" else s.backend for s in device.stages),
        1,
        "battery",
        every_stage=o.every_stage,
        data=o.images.name,
        pixels=o.log.name + ".pixels" if o.pixels else None,
    )
    total = o.records or len(images)
    with LogWriter(o.log, header) as log:
        for _ in range(30):
            phone.passes(1.0, 0.8)
            log.write(phone.sample("idle", 0.8))
        sampled = phone.time_s
        for number in range(total):
            if number == total // 2:
                if o.suspend:
                    phone.sleeps(3600.0)
                if o.fault == "clock-jump":
                    phone.time_s -= 120.0
            record = device.answer(number, images[number % len(images)], log)
            log.write(record)
            phone.passes(0.03, 0.8)
            if phone.time_s - sampled >= 1:
                sampled = phone.time_s
                log.write(phone.sample("state", 1.0))
        for _ in range(30):
            phone.passes(1.0, 0.8)
            log.write(phone.sample("idle", 0.8))
    print(json.dumps({"records": log.seq}))


if __name__ == "__main__":
    main()
