"""What `qairt-lora-importer` reads of one graph, and the commands that read it.

    GRAPH.onnx                 A and B of the LoRA branches as weights, those of the base
    lora_weight_list.txt       their names, one a line
    NAME.safetensors           their values for a concurrency, float32
    NAME.encodings             every encoding of the graph for a concurrency, AIMET 1.0.0
    lora_config.yaml           the concurrencies as use cases
    input_list.txt, raw/       an input of every kind, for the quantizer
    import.sh                  the commands

Source: as `qairt.toolchain.sdk.commands`. Sections are named as in the documentation of onnxruntime-qnn, for
`qnn.lora_config`; Genie's block is one that `libGenie.so` 1.21 accepts.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qairt.quant.encodings import Encodings
from qairt.toolchain.onnx_contents import onnx_contents
from qairt.toolchain.sdk import commands
from qairt.toolchain.sdk.inputs import write_inputs
from qairt.toolchain.sdk.install import CONVERTER, QUANTIZER

Floats = NDArray[np.float32]
IMPORTER = "qairt-lora-importer"
WEIGHT_LIST, USE_CASES, SCRIPT, IMPORTED = "lora_weight_list.txt", "lora_config.yaml", "import.sh", "imported"
_BEFORE = """\
#!/bin/sh
# Run it where the tools of a QAIRT SDK are on PATH (its bin/envsetup.sh). It makes the DLC of this graph with LoRA
# weights that can be replaced, and imports every concurrency into it. The importer's options are those that public
# programs give it; where it asks how to quantize a tensor, see its --help.
set -e
cd "$(dirname "$0")"
"""
_AFTER = """\
# qnn-context-binary-generator then takes the DLC, and with --adapter_weight_config what the importer wrote:
# {imported}/lora_output_files.yaml. Beside the binary it writes a section for each concurrency, named
# <graph>_<concurrency>.bin. This becomes the lora block of genie_config.json:
#   {block}
# Not publicly documented are how several graphs (AR 1 and AR 128) go into one binary with its sections, and what stands
# for a binary without sections; see "LoRA v2" in the documentation of your SDK.
"""


@dataclass(frozen=True)
class UseCase:
    """One concurrency in one graph."""

    weights: Mapping[str, Floats]
    """Every A and B of the graph, by the weight's name."""
    encodings: Encodings
    """Of every tensor of the graph."""


def write_importer_files(
    onnx: Path,
    vectors: Path,
    use_cases: Mapping[str, UseCase],
    *,
    base: str,
    act_bitwidth: int,
    bias_bitwidth: int,
) -> None:
    """Write them beside a graph.

    Args:
        onnx: from `qairt.graph.updatable`, named after the graph.
        vectors: the part's test vectors.
        use_cases: by concurrency.
        base: the one that the graph itself holds.

    Raises:
        ToolchainError: an input is missing in the test vectors, or does not fit.
    """
    import yaml
    from safetensors.numpy import save_file

    from qairt.quant.encodings_json import write_encodings

    folder, inputs = onnx.parent, onnx_contents(onnx).inputs
    for name, use_case in use_cases.items():
        save_file(dict(use_case.weights), folder / f"{name}.safetensors")
        (folder / f"{name}.safetensors").chmod(0o644)
        (folder / f"{name}.encodings").write_text(write_encodings(use_case.encodings), encoding="utf-8")
    (folder / WEIGHT_LIST).write_text("".join(f"{name}\n" for name in use_cases[base].weights), encoding="utf-8")
    listed = [
        {
            "name": name,
            "model_name": onnx.name,
            "lora_weights": f"{name}.safetensors",
            "quant_overrides": f"{name}.encodings",
            "output_path": IMPORTED,
        }
        for name in use_cases
    ]
    (folder / USE_CASES).write_text(yaml.safe_dump({"use_case": listed}, sort_keys=False), encoding="utf-8")
    samples = write_inputs(folder, vectors, inputs)
    float_dlc, dlc = f"{onnx.stem}.dlc", f"{onnx.stem}_quantized.dlc"
    calls = [
        [CONVERTER, *commands.converter(onnx.name, f"{base}.encodings", inputs, float_dlc, weight_list=WEIGHT_LIST)],
        [
            QUANTIZER,
            *commands.quantizer(float_dlc, samples.name, dlc, act_bitwidth=act_bitwidth, bias_bitwidth=bias_bitwidth),
        ],
        [IMPORTER, *commands.lora_importer(onnx.name, dlc, USE_CASES, IMPORTED)],
    ]
    script = folder / SCRIPT
    block = json.dumps(genie_block(onnx.stem, [*use_cases]))
    after = _AFTER.format(imported=IMPORTED, block=block)
    script.write_text(_BEFORE + "".join(f"{shlex.join(call)}\n" for call in calls) + after, encoding="utf-8")
    script.chmod(0o755)


def genie_block(graph: str, names: Sequence[str]) -> dict[str, object]:
    """The lora block of Genie's configuration for sections of one graph's binary."""
    adapters = [{"version": 1, "name": name, "bin-sections": [f"{graph}_{name}.bin"]} for name in names]
    return {"version": 1, "lora-version": 2, "adapters": adapters}
