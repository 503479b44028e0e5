"""One stage for Ethos-U85: quantized by ExecuTorch's own rules for Arm's NPUs, lowered through TOSA, compiled by Vela.

    python -m dvt_edge.exporting.ethosu_worker FOLDER

FOLDER holds the stage (a torch.export program) and its calibration inputs, one array for each input with an image a
row; the program and the counts of its operators are written there. Run by `ethosu_exporter.py`, on whose path Vela and
the TOSA tools come first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

STAGE, INPUTS, PROGRAM, OPERATORS = "stage.pt2", "inputs.npz", "program.pte", "operators.json"
ACCELERATOR = "ethos-u85-256"  # 256 MACs a cycle, the second smallest of those that there are


def main(folder: Path) -> None:
    import numpy as np
    import torch
    from executorch.backends.arm.ethosu import EthosUCompileSpec, EthosUPartitioner
    from executorch.backends.arm.quantizer import EthosUQuantizer, get_symmetric_quantization_config
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    from dvt_edge.exporting.executorch_exporter import count_operators

    exported = torch.export.load(folder / STAGE)
    with np.load(folder / INPUTS) as arrays:
        images = list(zip(*(torch.from_numpy(arrays[name]) for name in arrays.files), strict=True))
    spec = EthosUCompileSpec(ACCELERATOR)
    quantizer = EthosUQuantizer(spec)
    quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True))
    with torch.no_grad():
        observed = prepare_pt2e(exported.module(check_guards=False), quantizer)
        for inputs in images:
            observed(*inputs)
        quantized = torch.export.export(convert_pt2e(observed), images[0], strict=False)
        lowered = to_edge_transform_and_lower(quantized, partitioner=[EthosUPartitioner(spec)])
        program = lowered.to_executorch()
    operators = count_operators(program)
    with (folder / PROGRAM).open("wb") as file:
        program.write_to_file(file)
    counts = {"delegated": operators.delegated, "left": operators.undelegated_kinds}
    (folder / OPERATORS).write_text(json.dumps(counts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
