"""A bundle as GenieX reads it, by the rules of its loader.

Source: `core/src/llm/llm_spec_loader.cpp`, `core/src/llm/llm_model.cpp` and `models/dispatch.h` of
qualcomm/geniex-qairt-plugin at fb1c582, and `localfs.rs` of qualcomm/GenieX at cb60a5d; both BSD-3-Clause.

    metadata.json       `model_id`, and every graph's tensors: sizes of the model and the layers of each part
    genie_config.json   binaries in order, tokens, sampler, rotary embedding
    the binaries        AR and context length, from the graphs' names; tensors that parts hand on
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from qairt.errors import QairtError
from qairt.graph.tensors import TensorSpec
from qairt.toolchain.base import GraphContents
from qairt.toolchain.genie.config import value_at

METADATA = "metadata.json"
AGAIN = "export the bundle again"
PREFIXES = ("qwen3_", "qwen2_5_", "falcon_v3_", "llama_v3_", "phi_3_5_")
"""What a text model's `model_id` begins with."""
VISION, DRAFTING = ("qwen3_vl_", "qwen2_5_vl_"), "_ssd"
"""Beginnings and the ending of ids that are taken for other kinds of models."""
GRAPH_NAME = re.compile(r"(?:[A-Za-z]+_)?ar(\d+)_cl(\d+)_(\d+)_of_(\d+)")
_PART_FILE = re.compile(r"(?:.*_)?part(\d+)_of_(\d+)\.bin")
_LAYER = re.compile(r"past_(?:key|value)_(\d+)_(?:in|out)")
_COMPUTED = frozenset({"attention_mask", "position_ids", "position_ids_cos", "position_ids_sin"})
_FIRST_INPUTS = ("input_ids", "input_embeds", "inputs_embeds")
_ZERO = {"uint8": 128, "uint16": 32768}
"""What an empty cache is filled with, by type; 0 for all others."""
_LONGEST_TRAINED = 131_072
"""Of every model with two sets of rotary factors."""


@dataclass(frozen=True)
class GenieXModel:
    """What GenieX infers from `metadata.json`."""

    model_id: str
    parts: int
    layers: tuple[range, ...]
    """Of each part; empty for one without a cache."""
    kv_heads: int
    head_dim: int
    vocabulary: int
    first_input: str

    @property
    def num_layers(self) -> int:
        return max((each.stop for each in self.layers), default=0)


def read_geniex(content: Mapping[str, object]) -> GenieXModel:
    """What GenieX makes of the content of `metadata.json`.

    Raises:
        QairtError: it would refuse the file; says why.
    """
    files = content.get("model_files")
    if not isinstance(files, Mapping):
        raise _refused("it has no object model_files")
    model_id = content.get("model_id")
    if not isinstance(model_id, str) or not is_text_model(model_id):
        raise _refused(f"model_id is {model_id!r}, and GenieX knows text models by {', '.join(PREFIXES)}")
    graphs: dict[int, Mapping[str, object]] = {}
    parts = 0
    for name in sorted(files):
        graph, by_file = GRAPH_NAME.fullmatch(name), _PART_FILE.fullmatch(name)
        if graph is not None:
            part, of = int(graph[3]), int(graph[4])
            graphs.setdefault(part, files[name])
        elif by_file is not None:
            part, of = int(by_file[1]), int(by_file[2])
            graphs[part] = files[name]
        else:
            continue
        parts = max(parts, of)
    if not parts:
        raise _refused("model_files has no graph named as in ar1_cl512_2_of_4")
    missing = sorted(set(range(1, parts + 1)) - graphs.keys())
    if missing:
        raise _refused(f"model_files has no graph of part {missing[0]} of {parts}")
    return _inferred(model_id, [graphs[part] for part in range(1, parts + 1)])


def _inferred(model_id: str, graphs: Sequence[Mapping[str, object]]) -> GenieXModel:
    """Sizes and layers; a mapping's names are read in alphabetical order."""
    layers, first_input = [], ""
    past: Sequence[int] = ()
    logits: Sequence[int] = ()
    for number, graph in enumerate(graphs, 1):
        inputs, outputs = _shapes(graph, "inputs"), _shapes(graph, "outputs")
        own = {int(found[1]) for name in inputs if (found := _LAYER.fullmatch(name))}
        if own and own != set(range(min(own), max(own) + 1)):
            raise _refused(f"the layers of part {number} are not contiguous: {', '.join(map(str, sorted(own)))}")
        layers.append(range(min(own), max(own) + 1) if own else range(0))
        handed = [name for name in sorted(inputs) if not is_special(name)]
        first_input = first_input or next(iter(handed), "")
        keys = [inputs[name] for name in sorted(inputs) if name.startswith("past_key_")]
        past = past or next(iter(keys), ())
        logits = logits or outputs.get("logits", ())
    if first_input not in _FIRST_INPUTS:
        raise _refused(f"the first part's input is {first_input!r}, not {', '.join(_FIRST_INPUTS)}")
    if len(past) < 4 or not logits:
        raise _refused("no graph has keys of four dimensions, or none has logits")
    return GenieXModel(model_id, len(graphs), tuple(layers), past[0], past[2], logits[-1], first_input)


def is_text_model(model_id: str) -> bool:
    return model_id.startswith(PREFIXES) and not model_id.startswith(VISION) and not model_id.endswith(DRAFTING)


def is_special(name: str) -> bool:
    """A tensor that GenieX fills or keeps itself; any other is handed from part to part."""
    is_kept = ("key" in name or "value" in name) and name.endswith(("_in", "_out"))
    return is_kept or name in _COMPUTED


def _shapes(graph: object, kind: str) -> dict[str, Sequence[int]]:
    found = value_at(graph, kind)
    shapes = {name: value_at(spec, "shape") for name, spec in found.items()} if isinstance(found, Mapping) else {}
    return {name: shape for name, shape in shapes.items() if isinstance(shape, list)}


def _refused(what: str) -> QairtError:
    return QairtError(what, where=METADATA, remedy=AGAIN)


def graph_faults(graphs: Sequence[GraphContents], model: GenieXModel) -> Iterator[str]:
    """Why GenieX would not run these graphs of the binaries."""
    named = {graph.name: GRAPH_NAME.fullmatch(graph.name) for graph in graphs}
    other = next((name for name, found in named.items() if found is None), None)
    if other is not None:
        yield f"the graph name {other} is not of the form prefix_ar1_cl512_2_of_4, with only letters in the prefix"
        return
    placed = {tuple(map(int, found.groups()[:3])): name for name, found in named.items() if found is not None}
    ars, cls = ({place[axis] for place in placed} for axis in (0, 1))
    if len(ars) != 2:
        found = ", ".join(map(str, sorted(ars)))
        yield f"the graphs have AR {found}, and GenieX takes one for prompts and one for decoding"
        return
    wanted = [(ar, cl, part) for ar in sorted(ars) for cl in sorted(cls) for part in range(1, model.parts + 1)]
    missing = [place for place in wanted if place not in placed]
    if missing:
        yield "no binary has the graph ar{}_cl{}_{}_of_{}".format(*missing[0], model.parts)
        return
    by_name = {graph.name: graph for graph in graphs}
    chain = [by_name[placed[max(ars), min(cls), part]] for part in range(1, model.parts + 1)]
    for before, after in pairwise(chain):
        given, taken = _handed(before.outputs), _handed(after.inputs)
        if given != taken:
            yield f"{after.name} takes {_text(taken)}, but the part before gives {_text(given)}"
    for graph in graphs:
        yield from _cache_faults(graph, model)


def _cache_faults(graph: GraphContents, model: GenieXModel) -> Iterator[str]:
    for spec in graph.inputs:
        if _LAYER.fullmatch(spec.name) is None:
            continue
        if -(spec.offset or 0) != _ZERO.get(spec.dtype, 0):
            zero = _ZERO.get(spec.dtype, 0)
            yield f"{graph.name}: {spec.name} has zero point {-(spec.offset or 0)}; GenieX fills it with {zero}"
        if spec.name.startswith("past_key_") and (spec.shape[0], spec.shape[2]) != (model.kv_heads, model.head_dim):
            yield f"{graph.name}: {spec.name} is {list(spec.shape)}, {METADATA} says otherwise"


def _handed(specs: Sequence[TensorSpec]) -> TensorSpec | None:
    """The first tensor that a part takes from the one before, or gives to the next."""
    return next((spec for spec in specs if not is_special(spec.name)), None)


def _text(spec: TensorSpec | None) -> str:
    return "nothing" if spec is None else f"{spec.name} {spec.dtype} {list(spec.shape)}"


def frequencies(config: Mapping[str, object], head_dim: int) -> tuple[NDArray[np.float64], float]:
    """The rotary embedding that GenieX computes from `genie_config.json`: radians per position [D / 2], and the factor
    on cosine and sine. A scaling that it does not know is ignored."""
    encoding = value_at(config, "dialog", "engine", "model", "positional-encoding")
    stated = encoding if isinstance(encoding, Mapping) else value_at(config, "dialog", "engine", "backend", "QnnHtp")
    theta = _number(stated, "rope-theta", 10_000.0)
    scaling = value_at(encoding, "rope-scaling")
    plain = theta ** -(np.arange(0, head_dim, 2) / head_dim)
    match value_at(scaling, "rope-type"):
        case "llama3":
            return _llama3(plain, scaling), 1.0
        case "longrope":
            factors = value_at(scaling, "long-factor")
            longest = np.ones(len(plain))
            given = factors[: len(plain)] if isinstance(factors, list) else []
            longest[: len(given)] = given
            trained_at = _number(scaling, "original-max-position-embeddings", 4096.0)
            ratio = _LONGEST_TRAINED / trained_at
            factor = math.sqrt(1 + math.log(ratio) / math.log(trained_at)) if ratio > 1 else 1.0
            return plain / longest, factor
        case "partial":
            width = int(head_dim * _number(scaling, "rope-fraction", 1.0))
            return theta ** -(np.arange(0, width, 2) / width), _number(scaling, "scale", 1.0)
        case _:
            return plain, 1.0


def _llama3(plain: NDArray[np.float64], scaling: object) -> NDArray[np.float64]:
    factor = _number(scaling, "factor", 1.0)
    low, high = _number(scaling, "low-freq-factor", 1.0), _number(scaling, "high-freq-factor", 4.0)
    trained_at = _number(scaling, "original-max-position-embeddings", 8192.0)
    wavelength = 2 * math.pi / plain
    smooth = (trained_at / wavelength - low) / (high - low)
    between = (1 - smooth) * plain / factor + smooth * plain
    slow = np.where(wavelength > trained_at / low, plain / factor, between)
    return np.where(wavelength < trained_at / high, plain, slow)


def _number(content: object, name: str, default: float) -> float:
    found = value_at(content, name)
    return float(found) if isinstance(found, int | float) else default
