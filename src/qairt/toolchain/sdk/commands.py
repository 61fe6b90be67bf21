"""The arguments of an SDK's tools; paths are relative to the folder that they run in.

Source: the converter, quantizer and generator as in the QAIRT notebooks. `--lora_weight_list` and the importer's use
cases: "LoRA v2" in Qualcomm's public documentation (80-63442-10), and AIMET's `aimet_onnx.experimental.lora`, which
writes the same files. The importer's other options: programs on GitHub that call it.
"""

from __future__ import annotations

from collections.abc import Iterable

from qairt.graph.tensors import TensorSpec

LAYOUT = "NONTRIVIAL"
"""The layout of every input: not an image's, so that no axis is moved."""


def converter(
    network: str, encodings: str, inputs: Iterable[TensorSpec], dlc: str, *, weight_list: str | None = None
) -> list[str]:
    """
    Args:
        weight_list: a file of the names of weights that stay replaceable, one a line.
    """
    arguments = ["--input_network", network, "--quantization_overrides", encodings]
    if weight_list is not None:
        arguments += ["--lora_weight_list", weight_list]
    for spec in inputs:
        arguments += ["--source_model_input_layout", spec.name, LAYOUT]
    return [*arguments, "-o", dlc]


def quantizer(float_dlc: str, input_list: str, dlc: str, *, act_bitwidth: int, bias_bitwidth: int) -> list[str]:
    arguments = ["--input_dlc", float_dlc, "--input_list", input_list, "--output_dlc", dlc]
    return [*arguments, "--act_bitwidth", str(act_bitwidth), "--bias_bitwidth", str(bias_bitwidth)]


def lora_importer(network: str, dlc: str, use_cases: str, folder: str) -> list[str]:
    """
    Args:
        use_cases: the YAML file that lists them.
        folder: for what it writes.
    """
    return ["--input_network", network, "--input_dlc", dlc, "--lora_config", use_cases, "--output_dir", folder]
