"""The gate: what an export must keep before it is called done, and what its manifest then says of it.

A promise is broken, whatever the numbers, where the backend takes other operators than the recipe says. A bound is
broken where the artifacts disagree with PyTorch on images that set no range. `accepted` writes the bundle all the
same: it says so in `verification.reason`, and is not verified.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

from dvt_edge import machine
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.manifest import Manifest, Operators, Verification
from dvt_edge.errors import DegradedError, ExportError
from dvt_edge.exporting.qnn_simulator import simulator_of
from dvt_edge.exporting.recipes import Recipe, recipe_for
from dvt_edge.validation.compare import Comparison

DEGRADED = "degraded and accepted"  # begins a manifest's reason
UNVERIFIED = {
    "interpreted": "Core ML predicts on macOS only: run `dvt-edge validate --record` there; "
    "figures are of the program, interpreted",
    "lowered": "nothing here runs this backend: validate it on a device; figures are PyTorch's",
}


def keep_promise(recipe: Recipe, stage: str, operators: Operators) -> None:
    """Raises ExportError where the backend takes nothing, or leaves what the recipe does not say."""
    where = f"{stage}: target {recipe.name} failed"
    if operators.delegated == 0:
        raise ExportError(f"{where} ({recipe.backend} takes none of its operators)")
    allowed = Counter(recipe.undelegated)
    if left := {kind: n for kind, n in operators.undelegated_kinds.items() if n > allowed[kind]}:
        found = ", ".join(f"{n} {kind}" for kind, n in left.items())
        expected = f"at most {', '.join(f'{n} {kind}' for kind, n in allowed.items())}" if allowed else "none"
        took = operators.delegated / (operators.delegated + operators.undelegated)
        raise ExportError(
            f"{where} ({recipe.backend} takes {took:.1%} and leaves {found}; expected to leave {expected})"
        )


def judge(comparison: Comparison, recipe: Recipe, manifest: Manifest, accepted: bool) -> Verification:
    """What a comparison proves, here. Raises DegradedError for a broken bound, unless it is accepted."""
    broken = disagreement(comparison, recipe, manifest)
    if broken and not accepted:
        layers = "`dvt-edge sensitivity` names the layers that do it, " if recipe.static_int8 else ""
        raise DegradedError(
            f"target {recipe.name} disagrees with PyTorch: {broken}; {layers}--accept-degraded writes it all the same"
        )
    simulated = recipe.proof == "simulated"
    found = verification(comparison, manifest, simulator_of(recipe) if simulated else manifest.backend)
    if broken:
        return dataclasses.replace(found, verified=False, reason=f"{DEGRADED}: {broken}")
    if recipe.proof in UNVERIFIED:
        return dataclasses.replace(found, verified=False, reason=UNVERIFIED[recipe.proof])
    return found


def is_degraded(manifest: Manifest) -> bool:
    """Whether a bound was broken, and accepted."""
    return manifest.verification.reason.startswith(DEGRADED)


def disagreement(comparison: Comparison, recipe: Recipe, manifest: Manifest) -> str:
    """Every broken bound and the tensor that is farthest off, in words; empty when all is well."""
    broken = comparison.broken_bounds(recipe.bounds, manifest)
    return f"{'; '.join(broken)}; worst tensor {comparison.worst_tensor()}" if broken else ""


def verification(comparison: Comparison, manifest: Manifest, ran_on: str) -> Verification:
    """Of a comparison that kept its bounds."""
    return Verification(
        verified=True,
        reason=f"compared with PyTorch on {ran_on}",
        images=comparison.images,
        data=comparison.data,
        machine=machine.describe(),
        exits=comparison.qualities(),
        exit_agreement=comparison.worst_exit_agreement(manifest),
    )


def record_verification(bundle: CascadeBundle, comparison: Comparison) -> CascadeBundle:
    """Write a comparison made on this machine into the bundle's manifest: how a Core ML bundle becomes verified.

    Raises ExportError, and writes nothing, when the recipe's bounds are broken.
    """
    if broken := disagreement(comparison, recipe_for(bundle.manifest.target), bundle.manifest):
        raise ExportError(f"{bundle.manifest.name} disagrees with PyTorch: {broken}")
    proved = verification(comparison, bundle.manifest, bundle.manifest.backend)
    return bundle.rewrite(lambda now: dataclasses.replace(now, verification=proved))
