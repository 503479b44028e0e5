"""docs/recipes.md and docs/recipes-photographs.md: what each recipe keeps of a cascade's accuracy, at what size.

    python export_scripts/reproduce/measure_recipes.py data build/recipes
    python export_scripts/reproduce/measure_recipes.py GroceryStoreDataset build/recipes --checkpoint zoo:dvt_grocery

`data` holds CIFAR-10 in torchvision's layout. Bundles and logits under `build/recipes` are made once and reused, by the
hash of the artifacts; the page and its figures under docs/results/ come from them. Recipes whose programs are
interpreted or simulated (where Qualcomm's simulator is installed: `dvt-edge targets`) answer `--sampled` images drawn
at random. Latency is the fastest of many turns of one thread, as a ratio to float32 in the same engine and run: other
programs on the machine only add time. A recipe that its gate refuses is measured all the same, and said so.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from dvt_edge import machine
from dvt_edge.atomic import write_text
from dvt_edge.calibration.confidence import wilson
from dvt_edge.calibration.exit_logits import BundleSource, LogitSource, compute
from dvt_edge.cli.options import progress
from dvt_edge.data.images import LabelledImages
from dvt_edge.data.reading import open_images
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.runtime import Runtime
from dvt_edge.evaluation.curves import TorchSource
from dvt_edge.evaluation.intervals import paired_difference
from dvt_edge.exporting.own_environment import ENVIRONMENTS
from dvt_edge.exporting.pipeline import calibration_images, export, runtime_of
from dvt_edge.exporting.recipes import DRAWN_IMAGES, RECIPES, Recipe, range_images, recipe_for
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade
from dvt_edge.quiet import Report
from dvt_edge.simulation.arm_instructions import instruction_table
from dvt_edge.validation.compare import Comparison, ErrorMeter

PAGES = {"zoo:dvt_cifar10": "recipes", "zoo:dvt_grocery": "recipes-photographs"}
ROOT = Path(__file__).parents[2]
TURNS = 60
ARM = "cortex-a76"
Logits = NDArray[np.float32]  # (images, exits, classes)


def main(
    data: Path,
    work: Path,
    docs: Annotated[Path, typer.Option(help="Where the page and its figures go.")] = ROOT / "docs",
    checkpoint: Annotated[str, typer.Option(help=" or ".join(PAGES))] = "zoo:dvt_cifar10",
    sampled: Annotated[int, typer.Option(help="Images for recipes that are interpreted or simulated.")] = 1000,
    limit: Annotated[int, typer.Option(help="Images that an export takes, at most.")] = DRAWN_IMAGES,
    only: Annotated[
        list[str] | None, typer.Option(help="These anew, the page's others as they stand; default: all there are.")
    ] = None,
) -> None:
    images = open_images(data, "test")
    drawn = images.shuffled().first(sampled)
    recipes = [recipe_for(name) for name in only or ()] or [r for r in RECIPES if measurable(r)]
    cascade, digest = load_cascade(checkpoint), checkpoint_sha256(checkpoint)
    in_torch = TorchSource(cascade, digest)
    rows = []
    with progress() as report:
        given = calibration_images(cascade, data if checkpoint != "zoo:dvt_cifar10" else None)
        bundles = {
            r.name: export(
                cascade,
                r.name,
                work / PAGES[checkpoint] / r.name,
                calibration=given,
                limit=limit,
                checkpoint_sha256=digest,
                accept_degraded=True,
                cached=True,
                report=report,
            )
            for r in recipes
        }
        for recipe in recipes:
            some = images if recipe.proof == "run" else drawn
            reference = kept_logits(in_torch, some, work / "logits", report)
            with runtime_of(bundles[recipe.name], recipe) as runtime:
                found = kept_logits(BundleSource(runtime), some, work / "logits", report)
            ranges = range_images(recipe, min(limit, len(given)))
            rows.append(figures(bundles[recipe.name], found, reference, some) | {"range_images": ranges})
        ratios = latency({name: b for name, b in bundles.items() if recipe_for(name).proof == "run"}, images, report)
    rows = [row | {"latency": ratios.get(row["target"])} for row in rows]
    summary = {
        "checkpoint": checkpoint,
        "checkpoint_sha256": digest,
        "data": images.source.removeprefix(str(data)).strip("/"),
        "machine": machine.describe(),
        "recipes": rows,
    }
    file = docs / f"results/{PAGES[checkpoint]}.json"
    if only and file.exists():
        summary["recipes"] = merged(json.loads(file.read_text()), summary)
    write_text(file, json.dumps(summary, indent=1) + "\n")
    write_text(docs / f"{PAGES[checkpoint]}.md", page(summary))


def merged(before: dict[str, Any], now: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of both, those of now in place of the same recipes' before, in the order of `RECIPES`."""
    if different := [key for key in ("checkpoint_sha256", "data", "machine") if before[key] != now[key]]:
        raise typer.BadParameter(f"the page's {different[0]} is another: measure all recipes")
    rows = {row["target"]: row for row in (*before["recipes"], *now["recipes"])}
    return [rows[r.name] for r in RECIPES if r.name in rows]


def measurable(recipe: Recipe) -> bool:
    """Whether this machine can run what the recipe makes, on its engine or on what stands in for one."""
    return recipe.proof != "lowered" and not (recipe.environment and ENVIRONMENTS[recipe.environment].why_not())


# -- logits ----------------------------------------------------------------------------------------------------------


def kept_logits(source: LogitSource, images: LabelledImages, kept: Path, report: Report) -> Logits:
    """Computed once for an artifact and these images."""
    return compute(source, images, kept / f"{source.target}-{source.artifact_sha256[:12]}-{len(images)}", report).logits


# -- figures ---------------------------------------------------------------------------------------------------------


def figures(bundle: CascadeBundle, found: Logits, reference: Logits, images: LabelledImages) -> dict[str, Any]:
    """One recipe: of each exit its top-1 against float and its agreement, and the exits taken at its own points."""
    manifest, labels = bundle.manifest, np.asarray(images.labels)
    exits, meters = [], [ErrorMeter() for _ in manifest.stages]
    for k, meter in enumerate(meters):
        meter.add(found[:, k], reference[:, k])
        ours, theirs = found[:, k].argmax(axis=1), reference[:, k].argmax(axis=1)
        same = int((ours == theirs).sum())
        exits.append(
            {
                "top1": float(np.mean(ours == labels)),
                "float_top1": float(np.mean(theirs == labels)),
                "change": paired_difference(ours == labels, theirs == labels),
                "agreement": same / len(labels),
                "agreement_interval": wilson(same, len(labels)),
                "sqnr_db": meter.sqnr_db,
                "bytes": bundle.artifact_size(k),
            }
        )
    ours, theirs = (list(np.moveaxis(z, 1, 0)) for z in (found, reference))
    taken = Comparison({}, ours, theirs, images.labels, images.source).worst_exit_agreement(manifest)
    operators = [stage.operators for stage in manifest.stages]
    delegated, left = sum(o.delegated for o in operators), sum(o.undelegated for o in operators)
    return {
        "target": manifest.target,
        "images": len(labels),
        "exits": exits,
        "exit_agreement": taken,
        "exit_agreement_interval": wilson(round(taken * len(labels)), len(labels)),
        "delegated": delegated / (delegated + left),
        "proof": recipe_for(manifest.target).proof,
        "refused": None if manifest.verification.verified else manifest.verification.reason,
        "arm": arm_ratios(bundle),
        "tools": manifest.tools,
    }


def latency(bundles: dict[str, CascadeBundle], images: LabelledImages, report: Report) -> dict[str, list[float]]:
    """Of each stage, the fastest of `TURNS` runs over that of float32 in the same engine, all recipes taking turns."""
    runtimes = {name: Runtime(bundle) for name, bundle in bundles.items()}
    best = {name: [float("inf")] * len(bundle.manifest.stages) for name, bundle in bundles.items()}
    for turn, image in enumerate(images.first(TURNS)):
        report("latency, taking turns", turn, TURNS)
        for name, runtime in runtimes.items():
            state = {"image": runtime.preprocess(image)[None]}
            for k, stage in enumerate(bundles[name].manifest.stages):
                program, inputs = runtime.program(k), {t.name: state[t.name] for t in stage.inputs}
                program(inputs)  # caches as a stage that runs again and again has them
                start = time.perf_counter()
                outputs = program(inputs)
                best[name][k] = min(best[name][k], time.perf_counter() - start)
                state |= outputs
    floats = {recipe_for(name).engine: name for name in bundles if recipe_for(name).quantization is None}
    return {
        name: [ms / own for ms, own in zip(best[name], best[base], strict=True)]
        for name in bundles
        if (base := floats.get(recipe_for(name).engine))
    }


def arm_ratios(bundle: CascadeBundle) -> list[float] | None:
    """Of each stage, counted instructions over those of float32 in the same engine; None where none were counted."""
    target, table = bundle.manifest.target, instruction_table()
    base = next(r.name for r in RECIPES if r.engine == recipe_for(target).engine and r.quantization is None)
    counts = {c.target: c.stages for c in table.counts if c.processor == ARM}
    if bundle.manifest.name != table.model or not {target, base} <= counts.keys():
        return None
    return [ours / theirs for ours, theirs in zip(counts[target], counts[base], strict=True)]


# -- the page --------------------------------------------------------------------------------------------------------


def page(summary: dict[str, Any]) -> str:
    rows = summary["recipes"]
    *few, many = sorted({row["images"] for row in rows})
    how = sorted({row["proof"] for row in rows} - {"run"})
    fewer = " or ".join(f"{images:,}" for images in reversed(few))
    drawn = f"\nRows of {fewer} images: drawn at random, {' or '.join(how)}." if few else ""
    drawn += "".join(fewer_ranges(row) for row in rows)
    counted = any(row["arm"] for row in rows)
    arm = (
        f"\nARM: counted instructions of a {ARM} over float32's in the same engine (`make arm-counts`)."
        if counted
        else ""
    )
    heading = "| recipe | exit | images | top-1 % | change, points | agreement % | SQNR dB | kB | latency |"
    heading += " ARM |" * counted
    lines = [
        f"# What each recipe keeps: {summary['checkpoint']}",
        "",
        "Made by `export_scripts/reproduce/measure_recipes.py`, not by hand. Against PyTorch in float32 on the",
        f"{many:,} images of {summary['data']}, which set no range and no threshold.{drawn}",
        "Intervals are of 95 %: of the top-1 change by a paired bootstrap, of agreement by Wilson. SQNR is of the",
        f"logits of the chained artifacts. Latency: the fastest of {TURNS} turns of one thread over float32 in the",
        f"same engine and run, on {summary['machine']}; a phone's is another matter.{arm}",
        "",
        heading,
        "|---" * heading.count(" | ") + "|---|",
    ]
    for row in rows:
        for k, e in enumerate(row["exits"]):
            change, (low, high) = 100 * (e["top1"] - e["float_top1"]), (100 * v for v in e["change"])
            agrees = " to ".join(f"{100 * v:.2f}" for v in e["agreement_interval"])
            sqnr = "exact" if e["sqnr_db"] is None else f"{e['sqnr_db']:.1f}"
            cells = [
                f"`{row['target']}`" if k == 0 else "",
                f"{k}",
                f"{row['images']:,}",
                f"{100 * e['top1']:.2f}",
                f"{change:+.2f} ({low:+.2f} to {high:+.2f})",
                f"{100 * e['agreement']:.2f} ({agrees})",
                sqnr,
                f"{e['bytes'] / 1000:.0f}",
                *(f"{row[ratio][k]:.2f}" if row[ratio] else "" for ratio in ("latency", "arm")[: 1 + counted]),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Exits taken as in PyTorch, at the worst of the recipe's own operating points, and what its backend takes:",
        "",
        "| recipe | same exit % | 95 % | operators delegated % | total kB |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = (100 * v for v in row["exit_agreement_interval"])
        sizes = [e["bytes"] for e in row["exits"]]
        total = (sizes[0] if recipe_for(row["target"]).one_package else sum(sizes)) / 1000
        lines.append(
            f"| `{row['target']}` | {100 * row['exit_agreement']:.2f} | {low:.2f} to {high:.2f} | "
            f"{100 * row['delegated']:.1f} | {total:.0f} |"
        )
    lines += ["", "For Core ML all operators count as delegated by convention: the device decides."]
    refused = [f"- `{row['target']}`: {row['refused']}" for row in rows if row["refused"]]
    if refused:
        lines += [
            "",
            "Not verified by their export (`--accept-degraded` writes those that break a bound):",
            "",
            *refused,
        ]
    return "\n".join(lines) + "\n"


def fewer_ranges(row: dict[str, Any]) -> str:
    """What is to be said of a row whose export was given fewer images than its recipe asks for."""
    asked = range_images(recipe_for(row["target"]), 2 * DRAWN_IMAGES)
    found = row.get("range_images", asked)
    return f"\nRanges of `{row['target']}`: of {found} images, not {asked}." if found < asked else ""


if __name__ == "__main__":
    typer.run(main)
