"""Run in AIMET's environment: how AIMET takes a prepared graph and its encodings, as JSON.

Once with its constraints, as by default, and once without: what `strict=True` has against the encodings before and
after they were loaded with `strict=False`, and how near its simulation is to our quantized graphs.

Usage: python aimet_simulation.py RECIPE GRAPH.onnx; the graph's weights and encodings are beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from aimet_onnx.quantsim import QuantizationSimModel, _apply_constraints, load_encodings_to_sim

from qairt import LLMPipeline
from qairt.graph.tensors import GraphSignature, TensorSpec
from qairt.runtime.chain import PartChain
from qairt.runtime.parts import PartGraph

TEXT = "The quick brown fox jumps"


class Simulated:
    """A graph in AIMET, as a runner of a chain."""

    def __init__(self, simulation: QuantizationSimModel, part: PartGraph) -> None:
        self._session = simulation.session
        self._outputs = [spec.name for spec in part.signature.outputs]  # in its session some have other names

    def ready(self) -> None:
        pass

    def run(self, inputs):
        return dict(zip(self._outputs, self._session.run(None, dict(inputs)), strict=True))

    def close(self) -> None:
        pass


def refusal(simulation: QuantizationSimModel, encodings: Path) -> str:
    """What `strict=True` says against the encodings; empty if nothing."""
    try:
        load_encodings_to_sim(simulation, str(encodings), strict=True)
    except AssertionError as error:
        return str(error)
    return ""


def logits(graph: Path, simulation: QuantizationSimModel, pipeline: LLMPipeline, ids: list[int]) -> np.ndarray:
    """Of every token, [tokens, vocabulary]."""
    nodes = onnx.load(graph, load_external_data=False).graph
    inputs, outputs = (tuple(map(spec, group)) for group in (nodes.input, nodes.output))
    ar, cl = inputs[1].shape[-2:]  # the mask's
    whole = PartGraph(graph, GraphSignature(name="whole", ar=ar, cl=cl, part=1, of=1, inputs=inputs, outputs=outputs))
    with PartChain({ar: [whole]}, pipeline.finished().config, lambda part: Simulated(simulation, part)) as chain:
        return np.concatenate(list(chain.logits(ids)))


def spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    shape = tuple(dimension.dim_value for dimension in kind.shape.dim)
    return TensorSpec(name=value.name, dtype=onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name, shape=shape)


def sqnr(found: np.ndarray, reference: np.ndarray) -> float:
    """In dB."""
    return float(10 * np.log10(np.square(reference).sum() / np.square(found - reference).sum()))


if __name__ == "__main__":
    recipe, graph = map(Path, sys.argv[1:])
    encodings = graph.with_suffix(".encodings")
    pipeline = LLMPipeline.from_recipe(recipe)
    ids = pipeline.finished().tokenizer.encode(TEXT)
    with pipeline.generator("cpu") as generator:
        ours = np.concatenate(list(generator.logits(ids)))
    said = {}
    for name, constrained in (("constrained", True), ("as in the file", False)):
        with _apply_constraints(constrained):
            simulation = QuantizationSimModel(onnx.load(graph), config_file="htp_v79")
        before = refusal(simulation, encodings)
        load_encodings_to_sim(simulation, str(encodings), strict=False)
        after = refusal(simulation, encodings)
        said[name] = {"before": before, "after": after, "sqnr_db": sqnr(logits(graph, simulation, pipeline, ids), ours)}
    print(json.dumps(said))
