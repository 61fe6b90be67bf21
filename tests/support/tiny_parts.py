"""Split graphs of a tiny model, float or quantized with the ranges of one sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from qairt.graph.bind import bind
from qairt.graph.build import build_decoder
from qairt.graph.files import load, save
from qairt.graph.mha2sha import to_single_heads
from qairt.graph.qdq.quantize import quantize_graph
from qairt.graph.qdq.signature import signature_of
from qairt.graph.split import cut
from qairt.graph.weights_file import ExportedWeights, write_weights
from qairt.model.lora.shape import LoraShape
from qairt.model.names import is_key_or_value
from qairt.model.parameters import Parameters
from qairt.model.parts import plan_split
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import Encodings
from qairt.quant.quantize_model import quantize_model
from qairt.runtime.parts import PartGraph


def make_parts(
    directory: Path,
    parameters: Parameters,
    *,
    ars: Sequence[int],
    cl: int,
    num_splits: int,
    encodings: Encodings | None = None,
    lora: LoraShape | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
) -> dict[int, list[PartGraph]]:
    """Parts by AR in `directory`; float without `encodings`.

    Args:
        constants: the weights of the branches of `lora`.
    """
    weights = directory / "weights.bin"
    places = write_weights(ExportedWeights(parameters, constants or {}), weights)
    layers = parameters.config.num_layers
    plan = plan_split(embedding_bytes=1, layer_bytes=[1] * layers, head_bytes=1, num_splits=num_splits)
    parts: dict[int, list[PartGraph]] = {ar: [] for ar in ars}
    for ar in ars:
        for part in plan:
            name = f"ar{ar}-cl{cl}_{part.index}_of_{part.of}"
            model = cut(bind(build_decoder(parameters.config, places, weights, lora), ar=ar, cl=cl), part, name=name)
            if encodings is not None:
                model = quantize_graph(model, encodings, directory / f"quantized_{part.index}.bin")
            onnx = directory / f"{name}.onnx"
            save(model, onnx)
            signature = signature_of(model, encodings or Encodings(), ar=ar)
            parts[ar].append(PartGraph(onnx, signature))
    return parts


def float_parts(
    directory: Path, parameters: Parameters, *, ars: Sequence[int], cl: int, num_splits: int, single_heads: bool
) -> dict[int, list[PartGraph]]:
    """Float parts by AR in `directory`, which is made."""
    directory.mkdir()
    parts = make_parts(directory, parameters, ars=ars, cl=cl, num_splits=num_splits)
    if not single_heads:
        return parts
    for part in (part for each in parts.values() for part in each):
        if not any(is_key_or_value(spec.name) for spec in part.signature.inputs):
            continue  # it has no attention
        heads = to_single_heads(load(part.onnx), Encodings(), directory, f"{part.onnx.stem}.heads.bin")
        save(heads.model, part.onnx)
    return parts


def measured_encodings(parameters: Parameters, ids: Sequence[int]) -> Encodings:
    """16-bit activations, 8-bit keys, values and weights (per channel), from one pass over `ids`."""
    return quantize_model(parameters, [np.asarray(ids)], TechniqueConfig(technique="minmax")).encodings
