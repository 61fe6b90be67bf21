"""Graphs of a tiny model on disk, and running them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from made_adapters import made_adapter, ranks_of
from tiny_models import save_tiny

from qairt.files import link_or_copy
from qairt.graph import files, split
from qairt.graph.bind import bind
from qairt.graph.build import build_decoder
from qairt.graph.weights_file import ExportedWeights, write_weights
from qairt.model.config import DecoderConfig
from qairt.model.describe import describe_model
from qairt.model.lora.shape import LoraShape, branch_values, constant_values, shape_of
from qairt.model.parameters import Parameters, open_parameters
from qairt.model.parts import Part, plan_split
from qairt.model.rope import rotary

CL = 32


def export_adapted(
    directory: Path, family: str, *, hot_switch: bool = False, **changes: Any
) -> tuple[Parameters, LoraShape, dict[str, np.ndarray], Path]:
    """A tiny model with LoRA branches of rank 6 on every linear: its parameters, the shape of the branches, the values
    of two adapters, and its graph as `export_tiny` writes it. With hot switch the values hold its weights too."""
    save_tiny(directory / "hf", family, **changes)
    parameters = open_parameters(directory / "hf", describe_model(directory / "hf").config)
    config, weights = parameters.config, directory / "weights.bin"
    adapters = [made_adapter(config, "one", 4), made_adapter(config, "two", 2)]
    shape = shape_of(config, [["one", "two"]], ranks_of(*adapters), hot_switch=hot_switch)
    constants = dict(constant_values(shape, {each.name: each for each in adapters}, parameters))
    graph = build_decoder(config, write_weights(ExportedWeights(parameters, constants), weights), weights, shape)
    files.save(graph, directory / "model.onnx")
    values = branch_values(shape, [(adapters[0], 1.0), (adapters[1], 0.5)], parameters)
    return parameters, shape, values | constants, directory / "model.onnx"


def export_tiny(directory: Path, family: str, **changes: Any) -> tuple[Any, DecoderConfig, Path]:
    """A tiny model, its configuration, and its symbolic graph `model.onnx` over `weights.bin` in `directory`."""
    model = save_tiny(directory / "hf", family, **changes)
    config = describe_model(directory / "hf").config
    weights = directory / "weights.bin"
    places = write_weights(open_parameters(directory / "hf", config), weights)
    files.save(build_decoder(config, places, weights), directory / "model.onnx")
    return model, config, directory / "model.onnx"


def bound(onnx: Path, ar: int, cl: int = CL) -> Path:
    """The graph at one AR and CL, beside it."""
    path = onnx.with_name(f"ar{ar}-cl{cl}.onnx")
    files.save(bind(files.load(onnx), ar=ar, cl=cl), path)
    return path


def tiny_parts(config: DecoderConfig, num_splits: int) -> list[Part]:
    layers = config.num_layers
    return plan_split(
        embedding_bytes=2,
        layer_bytes=[2] * layers,
        head_bytes=2,
        num_splits=num_splits,
        mlp_bytes=() if config.parallel_blocks else [1] * layers,
    )


def cut_parts(onnx: Path, parts: Sequence[Part], folder: str = "parts") -> list[Path]:
    """Each part as a file, over a hard link of the same weights."""
    directory = onnx.parent / folder
    directory.mkdir(exist_ok=True)
    if not (directory / "weights.bin").exists():
        link_or_copy(onnx.parent / "weights.bin", directory / "weights.bin")
    paths = []
    for part in parts:
        path = directory / f"{onnx.stem}_{part.index}_of_{part.of}.onnx"
        files.save(split.cut(files.load(onnx), part, name=path.stem), path)
        paths.append(path)
    return paths


def run(
    onnx: Path, inputs: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """All outputs, with some of the graph's weights replaced."""
    options = onnxruntime.SessionOptions()
    replaced = {name: onnxruntime.OrtValue.ortvalue_from_numpy(value) for name, value in (weights or {}).items()}
    for name, value in replaced.items():
        options.add_initializer(name, value)
    session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    wanted = {value.name for value in session.get_inputs()}
    return dict(zip(names, session.run(names, {k: v for k, v in inputs.items() if k in wanted}), strict=True))


def feeds(
    config: DecoderConfig, ids: Sequence[int], past: Sequence[dict[str, np.ndarray]] = (), cl: int = CL
) -> dict[str, np.ndarray]:
    """Inputs for `ids` after the outputs of earlier calls, padding on the left."""
    ar = len(ids)
    held = sum(call["past_key_0_out"].shape[3] for call in past)
    positions = np.arange(held, held + ar)
    cos, sin = rotary(config, positions, length=cl)
    mask = np.full((1, 1, ar, cl), -1e4, np.float32)
    for row in range(ar):
        mask[0, 0, row, cl - ar - held : cl - ar + row + 1] = 0
    made = {
        "input_ids": np.array([ids], np.int32),
        "attention_mask": mask,
        "position_ids_cos": cos[None, None].astype(np.float32),
        "position_ids_sin": sin[None, None].astype(np.float32),
    }
    for layer in range(config.num_layers):
        for kind, axis in (("key", 3), ("value", 2)):
            shape = [config.num_kv_heads, 1, cl - ar, config.head_dim]
            if kind == "key":
                shape[2], shape[3] = shape[3], shape[2]
            filled = np.zeros(shape, np.float32)
            if past:
                new = np.concatenate([call[f"past_{kind}_{layer}_out"] for call in past], axis)
                index = [slice(None)] * 4
                index[axis] = slice(cl - ar - held, None)
                filled[tuple(index)] = new
            made[f"past_{kind}_{layer}_in"] = filled
    return made
