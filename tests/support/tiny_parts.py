"""Split graphs of a tiny model, float or quantized by the extremes seen on one sequence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qairt.graph.bind import bind
from qairt.graph.build import build_decoder
from qairt.graph.files import save
from qairt.graph.parts import plan_split
from qairt.graph.qdq import quantize_graph
from qairt.graph.split import cut
from qairt.graph.qdq_signature import signature_of
from qairt.graph.weights_file import write_weights
from qairt.model.parameters import Parameters
from qairt.model.reference import Reference
from qairt.quant.encodings import Encoding, Encodings
from qairt.runtime.parts import QuantizedPart

MASK_FLOOR = -50.0


def make_parts(
    directory: Path,
    parameters: Parameters,
    *,
    ars: Sequence[int],
    cl: int,
    num_splits: int,
    encodings: Encodings | None = None,
) -> dict[int, list[QuantizedPart]]:
    """Parts by AR in `directory`; float without `encodings`."""
    weights = directory / "weights.bin"
    places = write_weights(parameters, weights)
    layers = parameters.config.num_layers
    plan = plan_split(embedding_bytes=1, layer_bytes=[1] * layers, head_bytes=1, num_splits=num_splits)
    parts: dict[int, list[QuantizedPart]] = {ar: [] for ar in ars}
    for ar in ars:
        for part in plan:
            name = f"ar{ar}-cl{cl}_{part.index}_of_{part.of}"
            model = cut(bind(build_decoder(parameters.config, places, weights), ar=ar, cl=cl), part, name=name)
            if encodings is not None:
                model = quantize_graph(model, encodings, directory / f"quantized_{part.index}.bin")
            onnx = directory / f"{name}.onnx"
            save(model, onnx)
            signature = signature_of(model, encodings or Encodings(), ar=ar)
            parts[ar].append(QuantizedPart(onnx, signature))
    return parts


def measured_encodings(parameters: Parameters, ids: Sequence[int]) -> Encodings:
    """16-bit activations, 8-bit keys, values and weights (per channel), from one pass over `ids`."""
    config = parameters.config
    extremes: dict[str, tuple[float, float]] = {
        "attention_mask": (MASK_FLOOR, 0.0),
        "position_ids_cos": (-1.0, 1.0),
        "position_ids_sin": (-1.0, 1.0),
    }

    def tap(name: str, value: object) -> None:
        array = np.asarray(value)
        extremes[name] = (float(array.min()), float(array.max()))

    reference = Reference(parameters, keep_weights=True)
    hidden = reference.embed(ids, tap)
    mask = reference.causal_mask(len(ids), masked=MASK_FLOOR)
    cos, sin = reference.rotary(0, len(ids))
    for layer in range(config.num_layers):
        hidden, _, _ = reference.run_block(layer, hidden, mask, cos, sin, *reference.empty_past(), tap)
    reference.head(hidden, tap)
    encodings = Encodings({name: _asymmetric(*ends) for name, ends in extremes.items()})
    for layer in range(config.num_layers):
        for kind, joined in (("key", "keys"), ("value", "values")):
            grid = _symmetric(max(map(abs, extremes[f"past_{kind}_{layer}_out"])))
            for name in (f"past_{kind}_{layer}_in", f"past_{kind}_{layer}_out", f"layers.{layer}.attn.{joined}"):
                assert name.endswith("_in") or name in extremes, name
                encodings.activations[name] = grid
    for name in parameters.names():
        weight = parameters.read(name)
        if weight.ndim == 1:
            encodings.params[name] = _asymmetric(float(weight.min()), float(weight.max()))
        elif re.search("embed", name):
            encodings.params[name] = _symmetric(float(np.abs(weight).max()))
        else:
            scale = np.abs(weight).max(0) / np.float32(127)
            encodings.params[name] = Encoding(8, True, scale, np.full(len(scale), -128), axis=1)
    return encodings


def _asymmetric(low: float, high: float, bitwidth: int = 16) -> Encoding:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, 1e-6) / (2**bitwidth - 1)
    return Encoding(bitwidth, False, np.array([scale], np.float32), np.array([round(low / scale)]))


def _symmetric(largest: float) -> Encoding:
    return Encoding(8, True, np.array([largest / 127], np.float32), np.array([-128]))
