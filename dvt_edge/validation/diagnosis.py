"""A diagnosis: hypotheses are tried on the host, and the one that explains the record is named. Nothing is guessed.

What the record itself says comes first: its provider, clock, thresholds, label names. Then suspicious images run again,
with the fault made on purpose: from the image to the pixels that were logged, from those pixels to the logits, from one
stage's state to the next. A hypothesis counts where it takes away nearly all of the difference on nearly all images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.data.images import LabelledImages
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.decoding import open_rgb
from dvt_edge.device.device_log import ImageRecord, LogHeader
from dvt_edge.device.engines import Arrays
from dvt_edge.device.preprocess import preprocess
from dvt_edge.device.runtime import Runtime
from dvt_edge.validation.device_compare import Measured, Suspect
from dvt_edge.validation.host_run import HostRun, LoggedPixels, Pixels, key_of_pixels
from dvt_edge.validation.hypotheses import image_hypotheses, pixel_hypotheses
from dvt_edge.validation.log_batches import key_of
from dvt_edge.validation.verdicts import Finding

TRIED = 16  # images that each hypothesis is tried on
EXPLAINS = 0.3  # of the difference may be left
LEVELS = 3.0  # of 255, mean: what decoders and rounding make at most
FLOAT_KERNELS = 0.01  # of a logit: how far float32 kernels are from one another at most
OVERFLOWS = 0.97 ** np.arange(160)  # of the largest value of a state: from where on a search lets float16 overflow
RULED = 0.999  # of the images must leave as an operating point says
Logits = NDArray[np.float32]


@dataclass
class Evidence:
    """What a diagnosis has besides the measurements."""

    runtime: Runtime
    header: LogHeader
    artifact_sha256: str
    names: Sequence[str]
    host: HostRun
    images: LabelledImages | None
    logged: LoggedPixels | None
    others: Sequence[CascadeBundle] = ()
    kernel_error: float = 0.0

    @cached_property
    def other_runtimes(self) -> list[Runtime]:
        return [Runtime(bundle) for bundle in self.others]

    def pixels(self, record: ImageRecord) -> Pixels | None:
        """Those that went into the device, from the log's file or, of the same hash, from the test set."""
        if self.logged is not None:
            found = self.logged.get(record.pixels, record.pixels_sha256)
            if found is not None:
                return found
        place = self.host.place(record.id) if self.header.data else -1
        if place < 0 or self.images is None:
            return None
        spec = self.runtime.manifest.image_size(0)
        made = preprocess(self.images[place], spec.size, spec.resize)
        same = self.host.row(key_of(record.pixels_sha256)) == self.host.data_rows[place]
        return made if same else None


def diagnose(found: Measured, evidence: Evidence) -> list[Finding]:
    """The faults that explain what differs, by name; none where nothing does."""
    if evidence.header.artifact_sha256 != evidence.artifact_sha256:
        return [*of_header(evidence), *of_clock(found)]  # of another bundle's answers nothing can be said
    return [
        *of_header(evidence),
        *of_clock(found),
        *of_rule(found, evidence),
        *of_labels(found, evidence),
        *of_pixels(found, evidence),
        *of_logits(found, evidence),
    ]


# -- what the record itself says ---------------------------------------------------------------------------------------


def of_header(evidence: Evidence) -> Iterable[Finding]:
    header, manifest = evidence.header, evidence.runtime.manifest
    if header.artifact_sha256 != evidence.artifact_sha256:
        yield Finding(
            "stale artifact",
            f"the device ran artifacts {header.artifact_sha256[:12]}..., the bundle's are "
            f"{evidence.artifact_sha256[:12]}...",
        )
    for backend in sorted({b for b in header.backends if b != manifest.backend}):
        stages = ", ".join(str(k) for k, b in enumerate(header.backends) if b == backend)
        yield Finding("wrong provider", f"stage {stages} ran on {backend}; the bundle promises {manifest.backend}")


def of_clock(found: Measured) -> Iterable[Finding]:
    for seq, seconds in found.timeline.jumps[:1]:
        more = f", and {len(found.timeline.jumps) - 1} times more" if len(found.timeline.jumps) > 1 else ""
        yield Finding("clock jump", f"the clock jumps by {seconds:+.3f} s at seq {seq}{more}")


def of_rule(found: Measured, evidence: Evidence) -> Iterable[Finding]:
    """Exits that the thresholds of the point do not give: those of another, or a stage that was never run."""
    stages = found.exits
    if found.not_every:
        yield Finding(
            "dropped stage",
            f"stage {found.reached + 1} did not run in {found.not_every} images of a log of every stage",
        )
        return
    if not found.rule_broken:
        return
    judged = found.images
    others = [name for name, count in found.rule.items() if count >= RULED * judged]
    if others:
        yield Finding("wrong thresholds", f"exits are those of the point {others[0]!r}, whatever the records name")
        return
    early = np.flatnonzero(found.early[:stages])
    if len(early) == 1 and early[0] == found.reached < stages - 1 and not found.late.any():
        yield Finding(
            "dropped stage",
            f"{found.early[early[0]]} images stop after stage {early[0]} though their confidence is too low: "
            f"stage {early[0] + 1} was never run",
        )
        return
    for k in range(stages - 1):
        if found.early[k] or found.late[k]:
            low, high = found.highest_went_on[k], found.lowest_left[k]
            fits = (
                f"a threshold between {low:.4f} and {high:.4f} explains them"
                if low <= high
                else "no one threshold does"
            )
            yield Finding("wrong thresholds", f"exit {k} does not leave as its point says: {fits}")
            return


def of_labels(found: Measured, evidence: Evidence) -> Iterable[Finding]:
    if not found.names:
        return
    shown: dict[int, set[str]] = defaultdict(set)
    for (label, name), _ in found.names.items():
        shown[label].add(name)
    label, name = next(iter(found.names))
    known = all(n in evidence.names for names in shown.values() for n in names)
    one = all(len(names) == 1 for names in shown.values())
    kind = "the list of labels is in another order" if known and one else "names that are not the labels'"
    yield Finding("shuffled labels", f"{kind}: class {label}, {evidence.names[label]!r}, was shown as {name!r}")


# -- from the image to the pixels --------------------------------------------------------------------------------------


def originals(found: Measured, evidence: Evidence) -> list[tuple[Any, Pixels, Pixels]]:
    """(image, the host's pixels, those that went in) of images whose pixels are not the host's."""
    if evidence.images is None or evidence.logged is None:
        return []
    spec, rows = evidence.runtime.manifest.image_size(0), []
    for record in found.strange[:TRIED]:
        went_in = evidence.logged.get(record.pixels, record.pixels_sha256)
        if went_in is not None:
            image = evidence.images[evidence.host.place(record.id)]
            rows.append((image, preprocess(image, spec.size, spec.resize), went_in))
    return rows


def difference(a: Pixels, b: Pixels) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())


def pixel_difference(found: Measured, evidence: Evidence) -> tuple[float, int] | None:
    """The mean difference in levels of pixels that are not the host's, and of how many images; None without a file."""
    rows = originals(found, evidence)
    return (float(np.mean([difference(a, b) for _, a, b in rows])), len(rows)) if rows else None


def of_pixels(found: Measured, evidence: Evidence) -> Iterable[Finding]:
    rows = originals(found, evidence)
    if not rows:
        return
    spec, size = evidence.runtime.manifest.preprocessing, evidence.runtime.manifest.image_size(0)
    base = float(np.mean([difference(right, went_in) for _, right, went_in in rows]))
    if base <= LEVELS / 2:
        return  # another decoder, another rounding
    scores = []
    for (fault, words), make in image_hypotheses(spec.mean, spec.std).items():
        left = [difference(make(as_image(image), size.size, size.resize), went_in) for image, _, went_in in rows]
        scores.append((float(np.mean(left)), fault, words))
    rest, fault, words = min(scores)
    if rest <= min(EXPLAINS * base, LEVELS):
        yield Finding(
            fault, f"{words}: pixels differ by {base:.1f} levels, and by {rest:.2f} when the host does so too"
        )


def as_image(image: Any) -> Any:
    from PIL import Image

    return Image.fromarray(image) if isinstance(image, np.ndarray) else open_rgb(image)


# -- from the pixels to the logits -------------------------------------------------------------------------------------


def of_logits(found: Measured, evidence: Evidence) -> Iterable[Finding]:
    deviating = found.deviating[: found.exits]
    if not deviating.any():
        return
    overflown = [s for s in found.suspects if s.exit is not None and not finite(s.image, s.exit)]
    if overflown:
        stage = overflown[0].exit
        yield Finding(
            "float16 overflow",
            f"logits of exit {stage} are not finite on the device and are on the host, for the same pixels: a value "
            "passed 65,504, the largest of float16",
        )
        return
    first = int(deviating.argmax())
    suspects = [s for s in found.suspects if s.exit == first][:TRIED]
    tried = [(s, p) for s in suspects if (p := evidence.pixels(s.image)) is not None]
    if not tried:
        return
    search = of_first_exit(tried, evidence) if first == 0 else of_later_exit(tried, first, found, evidence)
    best = min(search, key=lambda h: h[0], default=None)
    if best is not None and best[0] <= max(2 * evidence.kernel_error, 0.02 * base_error(tried, first, evidence)):
        _, fault, words = best
        yield Finding(fault, words)


def finite(record: ImageRecord, exit_: int) -> bool:
    rows = record.logits or record.top5
    return bool(np.isfinite(rows[exit_]).all()) if rows else True


def off(record: ImageRecord, exit_: int, logits: Logits) -> float:
    """The largest difference of what a record says of an exit, all its logits or the largest five, to `logits`."""
    if record.logits:
        return float(np.abs(record.logits[exit_] - logits).max())
    return float(np.abs(record.top5[exit_] - logits[list(record.top5_labels[exit_])]).max())


def most(errors: Iterable[float]) -> float:
    """What nearly all errors lie below: a hypothesis need not hold for every image."""
    return float(np.quantile(list(errors), 0.8))


def base_error(tried: list[tuple[Suspect, Pixels]], exit_: int, evidence: Evidence) -> float:
    return most(off(s.image, exit_, host_logits(evidence.runtime, p)[exit_]) for s, p in tried)


def host_logits(runtime: Runtime, pixels: Pixels) -> list[Logits]:
    return [logits for logits, _ in runtime.steps(pixels)]


def of_first_exit(tried: list[tuple[Suspect, Pixels]], evidence: Evidence) -> Iterable[tuple[float, str, str]]:
    """(error left, fault, words) of what may differ before any state: the pixels on their way, or the artifacts."""
    spec, runtime = evidence.runtime.manifest.preprocessing, evidence.runtime
    for (fault, words), change in pixel_hypotheses(spec.mean, spec.std).items():
        yield (
            most(off(s.image, 0, host_logits(runtime, change(p))[0]) for s, p in tried),
            fault,
            f"{words}, after the pixels were logged",
        )
    before = [(s, b) for s, _ in tried if s.before is not None and (b := evidence.pixels(s.before)) is not None]
    if len(before) >= len(tried) // 2 + 1:
        error = most(off(s.image, 0, host_logits(runtime, b)[0]) for s, b in before)
        yield error, "image mix-up", "stage 0 got the pixels of the image before"
    whole = [(s.image.logits[0], host_logits(runtime, p)[0]) for s, p in tried if s.image.logits]
    if whole:
        ordered = most(float(np.abs(np.sort(a) - np.sort(b)).max()) for a, b in whole)
        # Sorted logits lie closer in any case: they must agree nearly exactly.
        yield 2 * ordered, "shuffled labels", "logits come in another order of the classes"
    yield from of_other_artifacts(tried, 0, evidence)


def of_float(tried: list[tuple[Suspect, Pixels]], exit_: int, evidence: Evidence) -> Iterable[tuple[float, str, str]]:
    """PyTorch's logits in place of the artifacts': nothing but float32 artifacts of the checkpoint comes so close."""
    theirs = evidence.host.pytorch
    if theirs is None:
        return
    rows = [(s, evidence.host.row(key_of_pixels(p))) for s, p in tried]
    error = most(off(s.image, exit_, theirs[row, exit_]) if row >= 0 else np.inf for s, row in rows)
    if error <= FLOAT_KERNELS:
        words = "the logits are those of the checkpoint in float32, not of the bundle's"
        yield error, "stale artifact", f"{words} {evidence.runtime.manifest.target} artifacts"


def of_other_artifacts(
    tried: list[tuple[Suspect, Pixels]], exit_: int, evidence: Evidence
) -> Iterable[tuple[float, str, str]]:
    yield from of_float(tried, exit_, evidence)
    for other in evidence.other_runtimes:
        if len(other.manifest.stages) > exit_:
            error = most(off(s.image, exit_, host_logits(other, p)[exit_]) for s, p in tried)
            words = f"the logits are those of {other.manifest.target} artifacts {other.bundle.artifacts_sha256[:12]}..."
            yield error, "stale artifact", f"{words}, not of the bundle's"


def of_later_exit(
    tried: list[tuple[Suspect, Pixels]], exit_: int, found: Measured, evidence: Evidence
) -> Iterable[tuple[float, str, str]]:
    """What may differ from `exit_` on, when the exits before agree: the state that its stage got."""
    runtime = evidence.runtime

    def with_state(pixels: Pixels, state: Arrays) -> Logits:
        return run_stage(runtime, exit_, pixels, state)[0]

    mixed, empty = [], []
    for suspect, pixels in tried:
        own, record = state_before(runtime, pixels, exit_), suspect.image
        empty.append(off(record, exit_, with_state(pixels, {n: np.zeros_like(v) for n, v in own.items()})))
        if suspect.before is not None and (earlier := evidence.pixels(suspect.before)) is not None:
            mixed.append(off(record, exit_, with_state(pixels, state_before(runtime, earlier, exit_))))
    if mixed:
        yield most(mixed), "state mix-up", f"stage {exit_} got the state of the image before"
    yield most(empty), "lost state", f"stage {exit_} got a state of zeros"
    yield (
        most(off(s.image, exit_, host_logits(runtime, p)[exit_ - 1]) for s, p in tried),
        "dropped stage",
        f"stage {exit_} was not run: its logits are those of stage {exit_ - 1}",
    )
    yield from of_overflow(tried, exit_, evidence)
    yield from of_other_artifacts(tried, exit_, evidence)


def of_overflow(
    tried: list[tuple[Suspect, Pixels]], exit_: int, evidence: Evidence
) -> Iterable[tuple[float, str, str]]:
    """A state whose largest values became infinite. Quantizers cut infinities off, so that logits stay finite.

    From which value on is not known; it is sought on a few images, and must then hold for all.
    """
    runtime = evidence.runtime
    states = [(s, p, state_before(runtime, p, exit_)) for s, p in tried]
    largest = max(float(np.abs(v).max()) for _, _, state in states for v in state.values())

    def error(some: Sequence[tuple[Suspect, Pixels, Arrays]], limit: float) -> float:
        found = []
        for suspect, pixels, state in some:
            logits = run_stage(runtime, exit_, pixels, {n: overflown(v, limit) for n, v in state.items()})[0]
            found.append(off(suspect.image, exit_, logits) if np.isfinite(logits).all() else np.inf)
        return most(found)

    best = min((largest * share for share in OVERFLOWS), key=lambda limit: error(states[:3], limit))
    words = f"stage {exit_} got a state whose values above {best:.3g} had become infinite"
    yield error(states, best), "float16 overflow", words


def overflown(values: NDArray[Any], limit: float) -> NDArray[Any]:
    return np.where(np.abs(values) > limit, np.copysign(np.float32(np.inf), values), values).astype(values.dtype)


def state_before(runtime: Runtime, pixels: Pixels, stage: int) -> Arrays:
    """The state that a stage gets for an image."""
    state: Arrays = {}
    for k in range(stage):
        _, state = run_stage(runtime, k, pixels, state)
    return state


def run_stage(runtime: Runtime, stage: int, pixels: Pixels, state: Arrays) -> tuple[Logits, Arrays]:
    """One stage alone: its (classes,) logits, and the state that it hands on."""
    spec = runtime.manifest.stages[stage]
    outputs = runtime.program(stage)(
        {t.name: pixels[None] if t.role == "image" else state[t.name] for t in spec.inputs}
    )
    (logits,) = (outputs[t.name][0] for t in spec.outputs if t.role == "logits")
    return logits, {t.name: outputs[t.name] for t in spec.outputs if t.role != "logits"}
