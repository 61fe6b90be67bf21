"""Whether `genai_config.json` and the `EPContext` wrappers say what the binaries hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qairt.bundle import genai_config as genai
from qairt.bundle.check.files import AGAIN
from qairt.bundle.compiled import CompiledBinary
from qairt.bundle.opened import OpenedBundle, at
from qairt.bundle.wrapper import OPEN, read_tensors, read_wrapped
from qairt.errors import Finding, GraphError
from qairt.runtime.cache import PAST
from qairt.toolchain.base import GraphContents
from qairt.toolchain.comparison import differences

DECODER = ("model", "decoder")
MOST_LAYERS = 1000
"""More than any model has; a configuration may state any number."""


def check_config(bundle: OpenedBundle, binaries: Sequence[CompiledBinary]) -> Iterator[Finding]:
    """The pipeline's files and tensors, the sizes it states, and the graphs its wrappers name."""
    stages = bundle.pipeline
    if not stages:
        text = f"{genai.NAME} has no decoder pipeline: it is not looked into"
        yield Finding("config", "warning", text, "only pipelines of several graphs are checked")
        return
    opened: dict[str, GraphContents] = {}
    faults = []
    for name, stage in stages.items():
        path = bundle.file(str(at(stage, "filename")))
        if path.is_file():
            found = _opened(path)
            if isinstance(found, Finding):
                faults.append(found)
            else:
                opened[name] = found
                faults += _stated_tensors(name, stage, found)
                faults += _wrapped(path, found, binaries)
    faults += [*_flow(bundle, stages, "run_on_prompt"), *_flow(bundle, stages, "run_on_token_gen")]
    faults += _sizes(bundle, stages, opened)
    yield from faults
    if not faults:
        yield Finding("config", "ok", f"{genai.NAME}: {len(stages)} graphs in a pipeline, each takes what is there")


def _opened(path: Path) -> GraphContents | Finding:
    try:
        return read_tensors(path)
    except GraphError as error:
        return Finding("config", "error", f"{path.name}: {error.what}", AGAIN)


def _stated_tensors(name: str, stage: Mapping[str, Any], found: GraphContents) -> Iterator[Finding]:
    for kind, specs in (("inputs", found.inputs), ("outputs", found.outputs)):
        stated, held = stage.get(kind), [spec.name for spec in specs]
        if sorted(_texts(stated)) != sorted(held):
            text = f"{name}: {kind} are {_names(stated)}, {at(stage, 'filename')} has {_names(held)}"
            yield Finding("config", "error", text, AGAIN)


def _wrapped(path: Path, found: GraphContents, binaries: Sequence[CompiledBinary]) -> Iterator[Finding]:
    """An `EPContext` graph names a binary beside it and a graph in that, with the same tensors."""
    for wrapped in read_wrapped(path):
        binary = next((each for each in binaries if each.name == Path(wrapped.binary).name), None)
        if binary is None:
            if not (path.parent / wrapped.binary).is_file():
                text = f"{path.name} names the binary {wrapped.binary}, which is missing"
                yield Finding("wrappers", "error", text, AGAIN)
            continue
        graph = next((each for each in binary.graphs if each.contents.name == wrapped.graph), None)
        if graph is None:
            text = f"{path.name} names the graph {wrapped.graph.lstrip('_')}, which {binary.name} does not hold"
            yield Finding("wrappers", "error", text, AGAIN)
            continue
        for kind, ours, theirs in (
            ("input", found.inputs, graph.contents.inputs),
            ("output", found.outputs, graph.contents.outputs),
        ):
            plain = [spec.model_copy(update={"scale": None, "offset": None}) for spec in theirs]
            for name, one, other in differences(ours, plain):
                text = f"{path.name}: the {kind} {name} is {one or 'missing'}, {binary.name} has {other or 'none'}"
                yield Finding("wrappers", "error", text, AGAIN)


def _flow(bundle: OpenedBundle, stages: Mapping[str, Mapping[str, Any]], when: str) -> Iterator[Finding]:
    """Each graph that runs then takes what the runtime or an earlier one gives, and somebody gives the logits."""
    names, layers = bundle.at(*DECODER, "inputs"), bundle.at(*DECODER, "num_hidden_layers")
    known = set(_texts(list(names.values()))) if isinstance(names, Mapping) else set()
    count = min(layers, MOST_LAYERS) if isinstance(layers, int) else 0
    known |= {name.replace("%d", str(layer)) for name in known if "%d" in name for layer in range(count)}
    for name, stage in stages.items():
        if stage.get(when, True) is False:
            continue
        for tensor in _texts(stage.get("inputs")):
            if tensor not in known:
                text = f"{name} takes {tensor}, which nothing before it gives ({when})"
                yield Finding("config", "error", text, AGAIN)
        renamed = stage.get("output_names_forwarder")
        known |= {
            *_texts(stage.get("outputs")),
            *_texts(list(renamed.values()) if isinstance(renamed, Mapping) else []),
        }
    logits = bundle.at(*DECODER, "outputs", "logits")
    if not isinstance(logits, str) or logits not in known:
        yield Finding("config", "error", f"no graph gives {logits}, the logits ({when})", AGAIN)


def _sizes(
    bundle: OpenedBundle, stages: Mapping[str, Mapping[str, Any]], opened: Mapping[str, GraphContents]
) -> Iterator[Finding]:
    """Sizes that the cache and the windows are made of, against the graphs that read the prompt."""
    prompt = [opened[name] for name, stage in stages.items() if name in opened and stage.get("run_on_prompt", True)]
    tensors = {spec.name: spec for graph in prompt for spec in (*graph.inputs, *graph.outputs)}
    key, mask, ids = tensors.get("past_key_0_in"), tensors.get("attention_mask"), tensors.get("input_ids")
    layers = {match[2] for name in tensors for match in [PAST.match(name)] if match is not None and match[3] == "in"}
    vocabulary = tensors.get("logits")
    wanted: list[tuple[tuple[str, ...], int]] = []
    if mask is not None and mask.shape:
        wanted.append((("model", "context_length"), mask.shape[-1]))
    if ids is not None and ids.shape:
        wanted.append(((*DECODER, "sliding_window", "window_size"), ids.shape[-1]))
    if key is not None and len(key.shape) == 4:
        wanted += [((*DECODER, "num_key_value_heads"), key.shape[0]), ((*DECODER, "head_size"), key.shape[2])]
        wanted.append(((*DECODER, "num_hidden_layers"), len(layers)))
        if key.dtype != "uint8":
            text = f"onnxruntime-genai holds keys as uint8, the graphs take {key.dtype}"
            yield Finding("config", "error", text, "quantize keys and values to 8 bits, or use the format genie")
    if vocabulary is not None and vocabulary.shape:
        wanted.append((("model", "vocab_size"), vocabulary.shape[-1]))
    for place, value in wanted:
        stated = bundle.at(*place)
        if value not in (stated, OPEN):
            text = f"{genai.NAME}: {'.'.join(place)} is {stated}, the graphs have {value}"
            yield Finding("config", "error", text, f"write {value}")
    pad, eos = bundle.at("model", "pad_token_id"), bundle.at("model", "eos_token_id")
    if pad is not None and pad in (eos if isinstance(eos, list) else [eos]):
        text = f"pad_token_id {pad} also ends a turn: where a prompt holds it, onnxruntime-genai takes it for padding"
        yield Finding("config", "warning", text, "use a token that no prompt holds")


def _texts(found: Any) -> list[str]:
    """The names in what should be a list of them."""
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _names(names: Any) -> str:
    return ", ".join(map(str, names)) if isinstance(names, list) and names else "none"
