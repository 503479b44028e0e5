"""Operating points: thresholds found on the outputs of the artifacts that ship, and what they give.

The images are dealt, by seed, into disjoint parts: one to search thresholds (and temperatures) on, one to test
certificates on where a risk is to be certified, and one to measure every point on. No figure of a point comes from
images that chose it. Quality is expected top-1 (`gains.py`) where labels are known, else agreement with the last exit.
docs/calibration.md explains what each objective promises.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dvt_edge.calibration.confidence import (
    FITTED,
    check_finite,
    exit_confidences,
    fit_temperatures,
    wilson,
)
from dvt_edge.calibration.exit_logits import ExitLogits
from dvt_edge.calibration.gains import calibrated_gains, steadied
from dvt_edge.calibration.paper_search import SETTINGS, paper_thresholds
from dvt_edge.calibration.pareto import NEVER, Front, pareto_front
from dvt_edge.calibration.risk import LOWEST, Method, Risk, certify, check_size
from dvt_edge.device.exit_rule import simulate_exits
from dvt_edge.device.manifest import CalibrationRecord, ConfidenceSpec, Manifest
from dvt_edge.device.operating_point import CUSTOM, Certificate, Measure, OperatingPoint
from dvt_edge.errors import DataError, ManifestError

DEFAULT = "accurate"
SHARPEST: dict[Risk, Method] = {"accuracy_loss": "wsr", "disagreement": "binomial"}
PATH = 100  # points that a certificate's walk from the last exit to the cheapest has at most

Kind = Literal["loss", "budget", "accuracy", "risk", "paper"]
Unit = Literal["macs", "ms", "mJ"]
MOST_COST = 1e18  # in whatever unit


@dataclass(frozen=True)
class Objective:
    """What a point shall be. `value` by kind: "loss" the quality it may lose against the last exit, "budget" a mean
    cost, "accuracy" a top-1, "risk" an epsilon, "paper" the p of the published search, 1..59."""

    kind: Kind
    value: float
    name: str

    def __post_init__(self) -> None:
        """Raises DataError for a name that cannot be read, or is a device log's for thresholds of the app's own."""
        if not self.name.strip() or not self.name.isprintable() or self.name == CUSTOM:
            raise DataError(f"objective's name {self.name!r}; expected characters that can be printed, not {CUSTOM!r}")

    def __str__(self) -> str:
        return f"{self.name}={self.kind}:{self.value:g}"


STANDARD = (Objective("loss", 0.05, "fast"), Objective("loss", 0.02, "balanced"), Objective("loss", 0.005, "accurate"))


@dataclass(frozen=True)
class Cost:
    """What leaving at each exit costs in all, and where the numbers come from."""

    unit: Unit
    per_exit: tuple[float, ...]
    source: str

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip((0.0, *self.per_exit), self.per_exit, strict=False))
        if not rising or not np.isfinite(self.per_exit).all():
            raise DataError(f"costs {self.per_exit} {self.unit} of leaving at each exit; expected rising ones above 0")


@dataclass(frozen=True)
class RiskRule:
    """How risks are certified; `delta` is not used by crc. `SHARPEST` has a good method for each risk."""

    risk: Risk = "accuracy_loss"
    method: Method = "wsr"
    delta: float = 0.1

    @property
    def level(self) -> float | None:
        return None if self.method == "crc" else self.delta


@dataclass(frozen=True)
class Parts:
    """Indices of the images of each part, in random order."""

    search: NDArray[np.int64]
    certify: NDArray[np.int64]
    measure: NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` found: the manifest's confidence, points by rising cost, and record."""

    confidence: ConfidenceSpec
    points: tuple[OperatingPoint, ...]
    record: CalibrationRecord
    parts: Parts
    attempts: int = 1  # calibrations of these artifacts on this data, this one included
    repeated: int = 0  # images left out of a certificate's data, since another one gives the same logits

    def apply_to(self, manifest: Manifest, default: str | None = None) -> Manifest:
        """The manifest with these points in place of its own. `default` names the default one.

        Raises ManifestError where the manifest needs a point that is no longer there.
        """
        names = [p.name for p in self.points]
        chosen = default or (manifest.default_operating_point if manifest.default_operating_point in names else DEFAULT)
        verification = dataclasses.replace(manifest.verification, exit_agreement=None)  # it was of the points before
        try:
            return dataclasses.replace(
                manifest,
                confidence=self.confidence,
                operating_points=self.points,
                default_operating_point=chosen,
                calibration=self.record,
                verification=verification,
                attempts=manifest.attempts | {self.record.data_sha256: self.attempts},
            )
        except ValueError as error:
            raise ManifestError(f"{manifest.name} cannot take these operating points: {error}") from error


def parse_objective(text: str) -> Objective:
    """ "budget:12e6", or with a name of its own "eco=budget:12e6". Raises DataError."""
    name, _, rest = text.rpartition("=")
    kind, colon, value = rest.partition(":")
    defaults = {"risk": "0.01", "paper": "20"}
    value = value if colon else defaults.get(kind, "")
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if kind not in get_args(Kind) or not np.isfinite(number):
        raise DataError(
            f"objective {text!r}; expected budget:COST, accuracy:TOP1, loss:QUALITY, risk:EPSILON or paper:P, "
            "with NAME= before it if you like"
        )
    if kind == "paper" and number not in SETTINGS:
        raise DataError(f"objective {text!r}; the published search has p = 1 to 59")
    most = 1 if kind in ("loss", "accuracy", "risk") else MOST_COST
    if not 0 <= number <= most:
        raise DataError(f"objective {text!r}; expected a value from 0 to {most:g}")
    return Objective(kind, number, name or f"{kind}-{value}")  # type: ignore[arg-type]


def deal(images: NDArray[np.int64], seed: int, certified: bool) -> Parts:
    """Halves to search and measure on, or thirds with one to certify on; the last part takes what is left over."""
    order = images[np.random.default_rng(seed).permutation(len(images))]
    share = len(images) // (3 if certified else 2)
    middle = share if certified else 0
    return Parts(order[:share], order[share : share + middle], order[share + middle :])


def calibrate(
    data: ExitLogits,
    *,
    objectives: Sequence[Objective] = (),
    measure: Measure = "max_softmax",
    temperature: Sequence[float] | None = None,
    cost: Cost | None = None,
    rule: RiskRule | None = None,
    seed: int = 0,
    attempts: int = 1,
    name_of: Callable[[int], str] | None = None,
) -> Calibration:
    """The points of STANDARD, those of `objectives`, and "full" (always the last exit).

    `temperature` is one an exit; None fits them, or takes 1 without an image to search on. `cost` is in MACs unless
    given. `attempts` counts the calibrations of these artifacts on this data, this one included; certificates say it.
    `name_of` names an image in errors. Raises DataError for logits that are not finite, an objective that no
    thresholds meet, or too few images.
    """
    rule = rule or RiskRule()
    cost = cost or Cost("macs", tuple(map(float, data.about.macs)), "counted on the graphs that ship")
    if len(cost.per_exit) != data.about.exits:
        raise DataError(f"{len(cost.per_exit)} costs; the logits have {data.about.exits} exits")
    wanted = (*STANDARD, *objectives)
    names = [o.name for o in wanted] + ["full"]
    if twice := {n for n in names if names.count(n) > 1}:
        raise DataError(f"two operating points of the name {min(twice)!r}; give one another name with NAME=")
    if not len(data):
        raise DataError(f"{data.about.data}: no images")
    check_finite(data, name_of)
    certified = any(o.kind == "risk" for o in wanted)
    images = data.distinct if certified else np.arange(len(data))
    parts = deal(images, seed, certified)
    if not temperature:
        searched = data.take(parts.search[:FITTED])
        temperature = fit_temperatures(searched) if len(searched) else (1.0,) * data.about.exits
    if len(temperature) != data.about.exits or not all(1e-3 <= t <= 1e3 for t in temperature):
        raise DataError(f"temperatures {tuple(temperature)}; expected {data.about.exits} of 0.001 to 1000, one an exit")
    spec = ConfidenceSpec(measure, tuple(temperature))
    search = Search(data, spec, cost, rule, parts, attempts)
    points = [search.point(o.name, *search.find(o)) for o in wanted]
    points.append(search.point("full", search.always_last, search.certificate(search.always_last, 0.0, last=True)))
    points.sort(key=lambda p: (p.mean_macs if p.mean_cost is None else p.mean_cost, p.name == "full"))
    record = CalibrationRecord(
        data=data.about.data,
        data_sha256=data.about.data_sha256,
        artifact_sha256=data.about.artifact_sha256,
        seed=seed,
        searched=len(parts.search),
        certified=len(parts.certify),
        measured=len(parts.measure),
        objectives=tuple(map(str, wanted)),
        cost_unit=cost.unit,
        cost_per_exit=cost.per_exit,
        cost_source=cost.source,
    )
    return Calibration(spec, tuple(points), record, parts, attempts, repeated=len(data) - len(images))


class Search:
    """Finds and measures points on one set of logits."""

    def __init__(
        self, data: ExitLogits, spec: ConfidenceSpec, cost: Cost, rule: RiskRule, parts: Parts, attempts: int
    ) -> None:
        self.attempts = attempts
        self.data, self.spec, self.cost, self.rule, self.parts = data, spec, cost, rule, parts
        self.values = exit_confidences(data, spec)
        self.agrees = data.guesses == data.guesses[:, -1:]
        self.right = None if data.labels is None else data.correct
        self.always_last = (NEVER,) * (data.about.exits - 1) + (0.0,)
        self.fronts: dict[str, Front] = {}

    def front(self, quality: str) -> Front:
        """Of "accuracy" or "agreement", on the part to search."""
        if quality not in self.fronts:
            rows = self.parts.search
            labelled = quality == "accuracy" and self.right is not None
            good = self.expected_right(rows) if labelled else self.agrees[rows]
            self.fronts[quality] = pareto_front(self.values[rows], good, self.cost.per_exit)
        return self.fronts[quality]

    @cached_property
    def predicted(self) -> NDArray[np.float64]:  # (images, exits)
        """Whatever the confidence's temperature: an underconfident last exit would seem to judge no better."""
        return calibrated_gains(self.data, self.data.take(self.parts.search[:FITTED]))

    def expected_right(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(rows, exits): what each answer is worth, of images with labels."""
        assert self.right is not None
        return steadied(self.right[rows], self.predicted[rows])

    def find(self, objective: Objective) -> tuple[tuple[float, ...], Certificate | None]:
        """Thresholds for an objective, and a certificate where it asks for one."""
        finders: dict[Kind, Callable[[float], Any]] = {
            "loss": self.losing, "budget": self.within, "accuracy": self.reaching, "paper": self.published
        }  # fmt: skip
        if objective.kind == "risk":
            return self.certified(objective.value)
        if not len(self.parts.search):
            return self.always_last, None  # nothing to search on: nothing leaves early
        return tuple(map(float, finders[objective.kind](objective.value))), None

    def losing(self, loss: float) -> NDArray[np.float32]:
        front = self.front("accuracy")
        index = front.reaching(front.last - loss)
        return front.thresholds[len(front) - 1 if index is None else index]

    def within(self, budget: float) -> NDArray[np.float32]:
        front = self.front("accuracy")
        if (index := front.within(budget)) is None:
            least = self.cost.per_exit[0]
            raise DataError(f"a budget of {budget:g} {self.cost.unit}: even the first exit costs {least:g}")
        return front.thresholds[index]

    def reaching(self, accuracy: float) -> NDArray[np.float32]:
        if self.right is None:
            raise DataError(f"{self.data.about.data}: an accuracy needs labels; without them use loss, budget or risk")
        front = self.front("accuracy")
        if (index := front.reaching(accuracy)) is None:
            raise DataError(
                f"no thresholds reach a top-1 of {accuracy:g}: the best is {front.quality[-1]:.4f}, expected"
            )
        return front.thresholds[index]

    def published(self, p: float) -> NDArray[np.float32]:
        return paper_thresholds(self.values[self.parts.search], int(p))

    def certified(self, epsilon: float) -> tuple[tuple[float, ...], Certificate]:
        """The cheapest thresholds on the path from the last exit down the front that keep the risk, proved."""
        rule, rows = self.rule, self.parts.certify
        check_size(len(rows), epsilon, rule.level, rule.method, LOWEST[rule.risk])
        front = self.front("accuracy" if rule.risk == "accuracy_loss" else "agreement")
        chosen = np.unique(np.linspace(0, len(front) - 1, PATH).astype(int))[::-1]
        path = [self.always_last, *(tuple(map(float, t)) for t in front.thresholds[chosen])]
        losses = np.stack([self.losses(thresholds, rows) for thresholds in path], axis=1)
        index = certify(losses, epsilon, rule.level, rule.method, LOWEST[rule.risk])
        return path[index or 0], self.certificate(path[index or 0], epsilon, last=not index)

    def losses(self, thresholds: Sequence[float], rows: NDArray[np.int64]) -> NDArray[np.int8]:
        """(rows,) losses of the rule's risk against the last exit."""
        if self.rule.risk == "disagreement":
            return 1 - self.answers(self.agrees, thresholds, rows).astype(np.int8)
        if self.right is None:
            raise DataError(
                f"{self.data.about.data}: accuracy_loss needs labels; without them certify the disagreement"
            )
        kept = self.answers(self.right, thresholds, rows).astype(np.int8)
        return self.right[rows, -1].astype(np.int8) - kept

    def answers(
        self, table: NDArray[np.bool_], thresholds: Sequence[float], rows: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        return table[rows, simulate_exits(self.values[rows], thresholds)]

    def certificate(self, thresholds: tuple[float, ...], epsilon: float, last: bool) -> Certificate:
        """Of the rule; where `last`, of a point that never leaves early, which no sample has to prove."""
        about, rule, spec = self.data.about, self.rule, self.spec
        bound = about.artifact_sha256, about.data_sha256, thresholds, spec.measure, spec.temperature, self.attempts
        if last:
            return Certificate("disagreement", "always-last", 0.0, 0.0, 0, *bound)
        return Certificate(rule.risk, rule.method, epsilon, rule.level, len(self.parts.certify), *bound)

    def point(self, name: str, thresholds: tuple[float, ...], certificate: Certificate | None = None) -> OperatingPoint:
        """What thresholds give on the part to measure."""
        rows = self.parts.measure
        leaves = simulate_exits(self.values[rows], thresholds)
        shares = np.bincount(leaves, minlength=self.data.about.exits) / len(rows)
        hits = expected = None
        if self.right is not None:
            hits = int(self.answers(self.right, thresholds, rows).sum())
            expected = float(self.expected_right(rows)[np.arange(len(rows)), leaves].mean())
        return OperatingPoint(
            name=name,
            thresholds=thresholds,
            exit_shares=tuple(shares.tolist()),
            mean_macs=float(shares @ np.array(self.data.about.macs, dtype=np.float64)),
            agreement=float(self.answers(self.agrees, thresholds, rows).mean()),
            top1=None if hits is None else hits / len(rows),
            images=len(rows),
            data=self.data.about.data,
            top1_interval=None if hits is None else wilson(hits, len(rows)),
            expected_top1=expected,
            mean_cost=None if self.cost.unit == "macs" else float(shares @ np.array(self.cost.per_exit)),
            certificate=certificate,
        )
