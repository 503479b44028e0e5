"""Runs a fleet into a folder, and sums it up.

    out/fleet.json       the description, all that its devices depend on, and the hash of that; written first
    out/parts/           one Parquet file a chunk of devices, each whole; a killed run goes on with those missing
    out/devices.parquet  all of them in order: a row for each device, policy and day
    out/summary.json     `Summary`: what `dvt-edge fleet` prints

The same bytes whatever the engine and the number of workers. Needs pyarrow, the extra `fleet`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge import machine
from dvt_edge.atomic import new_file, write_bytes, write_text
from dvt_edge.calibration.exit_logits import ExitLogits, open_logits
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.schema import parse_json
from dvt_edge.errors import SchemaError, SimulationError, one_line, packages
from dvt_edge.quiet import Report
from dvt_edge.simulation.baselines import CLAIRVOYANT
from dvt_edge.simulation.device_profile import changed, open_profile, own_macs, shipped_profiles
from dvt_edge.simulation.fleet import draw, fleet_path, open_fleet
from dvt_edge.simulation.fleet_device import TALLIED, Parts, scenario_of_device, simulate_device
from dvt_edge.simulation.fleet_engines import Engine, compute
from dvt_edge.simulation.workload import DAY, HOUR
from dvt_edge.version import __version__

if TYPE_CHECKING:
    import pyarrow

CHUNK = 8  # devices; what a killed run may lose for each worker
GROUP = 64  # chunks in a row group of the merged file


def parts_of(
    name: str | Path,
    bundle: CascadeBundle,
    *,
    devices: int | None = None,
    days: int | None = None,
    seed: int | None = None,
) -> Parts:
    """A description, its profiles and the bundle's points; what is not None replaces the description's.

    Raises SchemaError naming file and place.
    """
    path, manifest = fleet_path(name), bundle.manifest
    fleet = open_fleet(name)
    fleet = changed(
        fleet,
        devices=fleet.devices if devices is None else devices,
        days=fleet.days if days is None else days,
        seed=fleet.seed if seed is None else seed,
    )
    names = {kind.profile for kind in fleet.kinds}
    profiles = {n: open_profile(n if n in shipped_profiles() else path.parent / n) for n in sorted(names)}
    return Parts(fleet, profiles, manifest.proved_points, manifest.confidence, manifest.default_operating_point)


def described(parts: Parts, logits: ExitLogits) -> dict[str, Any]:
    """All that the rows depend on, and its `digest`."""
    about = logits.about
    content = {
        "dvt_edge": __version__,
        "fleet": dataclasses.asdict(parts.fleet),
        "profiles": {name: dataclasses.asdict(profile) for name, profile in parts.profiles.items()},
        "points": [dataclasses.asdict(point) for point in parts.points],
        "confidence": dataclasses.asdict(parts.confidence),
        "default": parts.default,
        "artifact_sha256": about.artifact_sha256,
        "target": about.target,
        "macs": about.macs,
        "data": about.data,
        "data_sha256": about.data_sha256,
        "logits_sha256": about.kept_sha256,  # of the same artifacts and images other kernels give others
        "images": about.images,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return {"digest": digest, **content}


def run_fleet(
    parts: Parts,
    logits_folder: Path,
    out: Path,
    engine: Engine = "local",
    workers: int = 1,
    report: Report | None = None,
) -> Summary:
    """Simulates what is missing in `out`, merges, and sums up; one that is done is only read.

    Raises SimulationError or SchemaError before anything is written where the parts do not fit, or where `out` holds
    another fleet.
    """
    logits = open_logits(logits_folder)
    check_fit(parts, logits)
    description = described(parts, logits)
    claim(out, description)
    if not (out / "devices.parquet").exists():
        total = math.ceil(parts.fleet.devices / CHUNK)
        missing = [chunk for chunk in range(total) if not part(out, chunk).exists()]
        what = f"{parts.fleet.name}: {parts.fleet.devices} devices, {parts.fleet.days} days"
        done = total - len(missing)
        task = functools.partial(simulate_chunk, parts, logits_folder.resolve())
        for chunk, content in compute(engine, task, missing, workers):
            write_bytes(part(out, chunk), content)
            done += 1
            if report:
                report(what, min(done * CHUNK, parts.fleet.devices), parts.fleet.devices)
        merge(out, total, columns(parts))
    summary = summed_up(out, parts, description)
    write_text(out / "summary.json", json.dumps(summary.to_dict(), indent=1, allow_nan=False) + "\n")
    return summary


def check_fit(parts: Parts, logits: ExitLogits) -> None:
    """Builds what the first device of each kind needs, so that errors come before the first file."""
    pyarrow_or_error()
    parts.replay(logits)
    drawn = draw(parts.fleet, 0, parts.profiles)
    for kind in parts.fleet.kinds:
        scenario = scenario_of_device(parts, logits, dataclasses.replace(drawn, kind=kind.name))
        if parts.policy_names(scenario.power_table) == (CLAIRVOYANT,) and logits.labels is None:
            raise SimulationError(
                f"{logits.about.data}: no labels, and no policy but the clairvoyant, which needs them"
            )
        for policy in parts.fleet.own_policies.values():
            parts.chooser(policy, scenario.power_table)


def claim(out: Path, description: dict[str, Any]) -> None:
    """Writes out/fleet.json, or finds the same there. Raises SimulationError where the folder holds anything else."""
    path = out / "fleet.json"
    if path.exists():
        try:
            found = str(parse_json(path.read_bytes(), str(path))["digest"])
        except OSError as error:
            raise SimulationError(f"{path}: cannot be read ({error.strerror}); give another folder") from error
        except (SchemaError, KeyError, TypeError, IndexError):
            found = "none"
        if found != description["digest"]:
            raise SimulationError(
                f"{out}: holds a fleet of digest {found[:12]}, not {description['digest'][:12]}; "
                "another description, seed, bundle or data: give another folder or delete it"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SimulationError(f"{out}: is not empty and holds no fleet; give another folder")
    else:
        write_text(path, json.dumps(description, indent=1) + "\n")


def part(out: Path, chunk: int) -> Path:
    return out / "parts" / f"{chunk:06}.parquet"


def simulate_chunk(parts: Parts, logits_folder: Path, chunk: int) -> bytes:
    """The Parquet file of the devices `chunk` x CHUNK and on. The logits are memory-mapped: processes share them."""
    import pyarrow
    from pyarrow import parquet

    images = parts.replay(open_logits(logits_folder))
    numbers = range(chunk * CHUNK, min((chunk + 1) * CHUNK, parts.fleet.devices))
    rows = [row for number in numbers for row in simulate_device(parts, images, number)]
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(rows, columns(parts)), sink)
    return sink.getvalue().to_pybytes()


def columns(parts: Parts) -> pyarrow.Schema:
    """The columns of a fleet's rows: docs/fleet.md says what each holds."""
    import pyarrow as pa

    text, real, count, flag = pa.dictionary(pa.int32(), pa.string()), pa.float64(), pa.int64(), pa.bool_()
    exits = [f"answered_exit{k}" for k in range(len(parts.points[0].thresholds))]
    kinds: dict[str, Any] = {
        **{"device": count, "kind": text},
        **dict.fromkeys(("capacity", "ambient_c", "start_level", "screen", "images_per_s"), real),
        **dict.fromkeys(("peak_hour", "charge_hour", "charge_hours", "charge_w"), real),
        **{"policy": text, "day": count, "charged": flag, "level_start": real, "level_end": real},
        **{"went_empty": flag, "first_empty_s": real, "answered": count},
        **dict.fromkeys(exits, count),
        **dict.fromkeys(TALLIED, count),
        **dict.fromkeys(("base_j", "inference_j", "lost_j", "charged_j", "hottest_c", "bound"), real),
    }
    return pa.schema(list(kinds.items()))


def read_rows(path: Path, schema: pyarrow.Schema, remedy: str) -> pyarrow.Table:
    """The rows of a file that `columns` describes. Raises SimulationError where it holds anything else."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        found = parquet.read_schema(path)
        if found.names != schema.names:
            odd = min(set(found.names) ^ set(schema.names), default="their order")
            raise SimulationError(f"{path}: other columns than a fleet's ({odd}); {remedy}")
        return parquet.read_table(path, schema=schema)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise SimulationError(f"{path}: damaged ({one_line(error)}); {remedy}") from error


def merge(out: Path, total: int, schema: pyarrow.Schema) -> None:
    """Joins the parts, in order and a few at a time, into devices.parquet, and then removes them."""
    import pyarrow as pa
    from pyarrow import parquet

    with new_file(out / "devices.parquet") as file, parquet.ParquetWriter(file, schema) as writer:
        for first in range(0, total, GROUP):
            tables = []
            for chunk in range(first, min(first + GROUP, total)):
                tables.append(read_rows(part(out, chunk), schema, "delete it and run again"))
            writer.write_table(pa.concat_tables(tables).unify_dictionaries().combine_chunks())
    shutil.rmtree(out / "parts", ignore_errors=True)


@dataclass(frozen=True)
class PolicySummary:
    """One policy over the fleet. Shares are fractions; a device that never ran empty counts as the whole run."""

    policy: str
    met_share: float  # devices that never ran empty: their battery lasted to the charger, or to the end, every day
    met_days_share: float  # of all devices' days
    lifetime_h: dict[str, float]  # quantiles over the devices of the hours until first empty
    accuracy: float | None  # right among those answered
    right_share: float | None  # right among those that arrived
    right_share_p5: float | None  # of the device that 5 % do worse than
    below_bound: float | None  # mean over the devices of bound - right share
    arrived: int
    answered: int
    exit_shares: tuple[float, ...] | None
    dropped: int
    late: int
    off: int
    uncertified: int
    inference_j_a_day: float
    base_j_a_day: float


@dataclass(frozen=True)
class Summary:
    """`estimated` has the parts of each device profile that nobody measured."""

    name: str
    devices: int
    days: int
    seed: int
    estimated: dict[str, tuple[str, ...]]
    allow_uncertified: bool
    policies: tuple[PolicySummary, ...]
    target: str
    artifact_sha256: str
    data: str
    data_sha256: str
    images: int
    machine: str  # that summed up
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


def summed_up(out: Path, parts: Parts, description: dict[str, Any]) -> Summary:
    fleet = parts.fleet
    path, remedy = out / "devices.parquet", "delete it and run again, which computes all anew"
    table = read_rows(path, columns(parts), remedy)
    if not table.num_rows or table.num_rows % (fleet.devices * fleet.days):
        found = f"{table.num_rows} rows for {fleet.devices} devices and {fleet.days} days"
        raise SimulationError(f"{path}: {found}; {remedy}")
    exits = [name for name in table.column_names if name.startswith("answered_exit")]
    sums = [*exits, *TALLIED, "answered", "base_j", "inference_j", "went_empty"]
    grouped = table.group_by(["policy", "device"], use_threads=False).aggregate(
        [*((name, "sum") for name in sums), ("first_empty_s", "min"), ("bound", "min")]
    )
    policy = np.array(grouped["policy"].to_pylist())
    every = {
        name: grouped[name].to_numpy(zero_copy_only=False).astype(np.float64)
        for name in grouped.column_names
        if name != "policy"
    }
    summaries = tuple(
        policy_summary(name, {key: column[policy == name] for key, column in every.items()}, exits, fleet.days)
        for name in dict.fromkeys(policy.tolist())
    )
    macs = own_macs(description["macs"])
    estimated = {}
    for name, profile in parts.profiles.items():
        bases = profile.bases(profile.costs(macs, description["artifact_sha256"], description["target"]))
        estimated[name] = tuple(part for part, basis in bases.items() if basis == "estimated")
    return Summary(
        name=fleet.name,
        devices=fleet.devices,
        days=fleet.days,
        seed=fleet.seed,
        estimated=estimated,
        allow_uncertified=parts.allow_uncertified,
        policies=summaries,
        machine=machine.describe(),
        **{k: description[k] for k in ("target", "artifact_sha256", "data", "data_sha256", "images", "digest")},
    )


def policy_summary(name: str, of: dict[str, NDArray[np.float64]], exits: list[str], days: int) -> PolicySummary:
    """From one value a device of each aggregated column; NaN is null."""
    whole = {key: column.sum() for key, column in of.items()}
    labelled = not np.isnan(of["right_sum"]).any()
    arrived, answered = whole["arrived_sum"], whole["answered_sum"]
    life_h = np.where(np.isnan(of["first_empty_s_min"]), days * DAY, of["first_empty_s_min"]) / HOUR
    busy = of["arrived_sum"] > 0
    shares = of["right_sum"][busy] / of["arrived_sum"][busy]
    below = of["bound_min"][busy] - shares
    below = below[np.isfinite(below)]
    return PolicySummary(
        policy=name,
        met_share=float((of["went_empty_sum"] == 0).mean()),
        met_days_share=float(1 - of["went_empty_sum"].mean() / days),
        lifetime_h={f"p{q}": quantile(life_h, q) for q in (5, 25, 50, 75, 95)},
        accuracy=float(whole["right_sum"] / answered) if labelled and answered else None,
        right_share=float(whole["right_sum"] / arrived) if labelled and arrived else None,
        right_share_p5=quantile(shares, 5) if labelled and len(shares) else None,
        below_bound=float(below.mean()) if len(below) else None,
        arrived=int(arrived),
        answered=int(answered),
        exit_shares=tuple(float(whole[f"{e}_sum"] / answered) for e in exits) if answered else None,
        dropped=int(whole["dropped_sum"]),
        late=int(whole["late_sum"]),
        off=int(whole["off_sum"]),
        uncertified=int(whole["uncertified_sum"]),
        inference_j_a_day=float(of["inference_j_sum"].mean() / days),
        base_j_a_day=float(of["base_j_sum"].mean() / days),
    )


def quantile(values: NDArray[np.float64], percent: int) -> float:
    """A value that occurs: the smallest that at least `percent` of them do not exceed."""
    return float(np.percentile(values, percent, method="inverted_cdf"))


def pyarrow_or_error() -> None:
    with packages("a fleet"):
        import pyarrow  # noqa: F401
