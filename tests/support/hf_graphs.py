"""Hugging Face models as torch exports them, with optimum's names, and encodings as AIMET would measure them.

`python tests/support/hf_graphs.py` remakes the graphs in `tests/support/dynamo`, which need onnxscript.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from tiny_models import tiny_model
from transformers import DynamicCache, PreTrainedModel

DYNAMO = Path(__file__).parent / "dynamo"
AR, PAST = 5, 7
"""Lengths that a graph with fixed sizes is exported for."""


class WithCache(torch.nn.Module):
    """A model whose cache is made of inputs and outputs."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Any, mask: Any, positions: Any, *past: Any) -> tuple[Any, ...]:
        cache = DynamicCache()
        for layer in range(len(past) // 2):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        result = self.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        presents = [tensor for layer in result.past_key_values.layers for tensor in (layer.keys, layer.values)]
        return (result.logits, *presents)


def export_hf(
    path: Path,
    model: PreTrainedModel,
    *,
    attention: str = "eager",
    opset: int = 17,
    dynamic: bool = True,
    dynamo: bool = False,
) -> Path:
    """Export a model with a cache: int64 tokens, a 2-D mask, position_ids, past_key_values.N.key, present.N.key."""
    config = model.config
    model.set_attn_implementation(attention)
    layers = range(config.num_hidden_layers)
    names = ["input_ids", "attention_mask", "position_ids"]
    names += [f"past_key_values.{layer}.{kind}" for layer in layers for kind in ("key", "value")]
    outputs = ["logits"] + [f"present.{layer}.{kind}" for layer in layers for kind in ("key", "value")]
    past = torch.zeros(1, config.num_key_value_heads, PAST, config.head_dim)
    inputs = (
        torch.arange(AR)[None],
        torch.ones(1, AR + PAST, dtype=torch.int64),
        torch.arange(PAST, PAST + AR)[None],
        *(past.clone() for _ in names[3:]),
    )
    given: dict[str, Any] = {"dynamo": dynamo}
    if dynamo:
        free = torch.export.Dim.DYNAMIC
        given |= {"external_data": False, "verbose": False}
        given["dynamic_shapes"] = {"ids": {1: free}, "mask": {1: free}, "positions": {1: free}}
        given["dynamic_shapes"]["past"] = tuple({2: free} for _ in names[3:])
    elif dynamic:
        axes = {0: "batch_size", 1: "sequence_length"}
        total = {0: "batch_size", 1: "past_sequence_length + sequence_length"}
        given["dynamic_axes"] = {"input_ids": axes, "attention_mask": total, "position_ids": axes}
        given["dynamic_axes"] |= {name: {0: "batch_size", 2: "past_sequence_length"} for name in names[3:]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            WithCache(model), inputs, path, input_names=names, output_names=outputs, opset_version=opset, **given
        )
    return path


def hf_feeds(graph: Path, ids: Sequence[int], past: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Inputs of an exported graph for `ids` after a cache (`present.N.key` of an earlier call), without padding."""
    held = 0 if past is None else past["present.0.key"].shape[2]
    feeds = {
        "input_ids": np.array([ids], np.int64),
        "attention_mask": np.ones((1, held + len(ids)), np.int64),
        "position_ids": np.arange(held, held + len(ids), dtype=np.int64)[None],
    }
    for value in onnx.load(graph, load_external_data=False).graph.input:
        if value.name.startswith("past_key_values."):
            sizes = [size.dim_value for size in value.type.tensor_type.shape.dim]
            empty = np.zeros((1, sizes[1], 0, sizes[3]), np.float32)
            feeds[value.name] = empty if past is None else past[value.name.replace("past_key_values", "present")]
    return feeds


def calibrated(graph: Path, calls: Sequence[Mapping[str, np.ndarray]], path: Path) -> Path:
    """Encodings of every float tensor of a graph, in its own names: its range over some calls, in 16 bits.

    Weights get 8 bits per channel. Keys and values are symmetric in 8 bits. Data movement and constants are left out,
    as AIMET does.
    """
    model = onnx.load(graph)
    moved = {"Reshape", "Transpose", "Unsqueeze", "Squeeze", "Slice", "Expand", "Concat", "Gather", "Cast", "Identity"}
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    known = {value.name for value in model.graph.output}
    inferred = onnx.shape_inference.infer_shapes(model)
    floats = {v.name for v in inferred.graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    wanted = [
        output
        for node in model.graph.node
        for output in node.output
        if output in floats and (node.op_type not in moved or node.op_type == "Gather") and node.op_type != "Constant"
    ]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted if name not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [*wanted, *(name for name in known if name not in wanted)]
    low, high = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for call in calls:
        for name, value in zip(names, session.run(names, dict(call)), strict=True):
            if value.size:
                finite = value[np.isfinite(value) & (value > -1e4)]
                low[name] = min(low[name], float(finite.min(initial=0)))
                high[name] = max(high[name], float(finite.max(initial=0)))
    activations = []
    for name in names:
        cache = name.startswith("present")
        bits = 8 if cache else 16
        if cache:
            scale, offset = max(-low[name], high[name], 1e-6) / 127, -128
        else:
            scale = max(high[name] - low[name], 1e-6) / 65535
            offset = round(low[name] / scale)
        activations.append(_entry(name, bits, cache, [scale], [offset]))
    params = []
    for name, values in weights.items():
        if values.ndim == 2 and values.dtype == np.float32:
            is_table = any(node.op_type == "Gather" and node.input[0] == name for node in model.graph.node)
            largest = np.abs(values).max(keepdims=True) if is_table else np.abs(values).max(0, keepdims=True)
            scale = (largest / 127).reshape(-1).tolist()
            params.append(_entry(name, 8, True, scale, [-128] * len(scale)))
        elif values.dtype == np.float32 and values.size > 1:
            low_, high_ = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
            scale = max(high_ - low_, 1e-6) / 65535
            params.append(_entry(name, 16, False, [scale], [round(low_ / scale)]))
    document = {"version": "1.0.0", "activation_encodings": activations, "param_encodings": params}
    path.write_text(json.dumps(document))
    return path


def _entry(name: str, bits: int, symmetric: bool, scale: list[float], offset: list[int]) -> dict[str, Any]:
    kind = "PER_TENSOR" if len(scale) == 1 else "PER_CHANNEL"
    return {
        "name": name,
        "enc_type": kind,
        "dtype": "INT",
        "bw": bits,
        "is_sym": symmetric,
        "scale": scale,
        "offset": offset,
    }


DYNAMO_SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 40,
}


def dynamo_model() -> PreTrainedModel:
    """The model of the graphs in `tests/support/dynamo`."""
    return tiny_model("llama", **DYNAMO_SIZES)


if __name__ == "__main__":
    DYNAMO.mkdir(exist_ok=True)
    for made_attention, made_opset in (("sdpa", 23), ("eager", 18)):
        made = export_hf(
            DYNAMO / f"{made_attention}_opset{made_opset}.onnx",
            dynamo_model(),
            attention=made_attention,
            opset=made_opset,
            dynamo=True,
        )
        slim = onnx.load(made)
        del slim.metadata_props[:]
        for found in (*slim.graph.node, *slim.graph.value_info, *slim.graph.input, *slim.graph.output):
            del found.metadata_props[:]
            found.doc_string = ""
        onnx.save(slim, made)
        print(made, made.stat().st_size)
