"""Check `genai_config.json` and the `EPContext` wrappers against the binaries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from qairt.bundle import genai_config as genai
from qairt.bundle.check.files import AGAIN
from qairt.bundle.compiled import CompiledBinary
from qairt.bundle.opened import OpenedBundle
from qairt.bundle.run_scripts import longest_prompt
from qairt.bundle.wrapper import DYNAMIC, read_tensors, read_wrapped
from qairt.errors import Finding, GraphError
from qairt.model.names import PAST
from qairt.toolchain.base import GraphContents
from qairt.toolchain.comparison import differences

DECODER = ("model", "decoder")
MOST_LAYERS = 1000
"""More than any model has; the configuration may contain any number."""


def check_config(bundle: OpenedBundle, binaries: Sequence[CompiledBinary]) -> Iterator[Finding]:
    """Check the pipeline's files, tensors and sizes, and the graphs that its wrappers name."""
    stages = bundle.pipeline
    if not stages:
        text = f"{genai.NAME} has no decoder pipeline, so it was not checked"
        yield Finding("config", "warning", text, "only pipelines of several graphs are checked")
        return
    opened: dict[str, GraphContents] = {}
    faults = []
    for name, stage in stages.items():
        path = bundle.file(str(stage.get("filename")))
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
        yield Finding("config", "ok", f"{genai.NAME}: a pipeline of {len(stages)} graphs whose inputs all exist")
        yield from _room(bundle)


def _opened(path: Path) -> GraphContents | Finding:
    try:
        return read_tensors(path)
    except GraphError as error:
        return Finding("config", "error", f"{path.name}: {error.what}", AGAIN)


def _stated_tensors(name: str, stage: Mapping[str, object], found: GraphContents) -> Iterator[Finding]:
    for kind, specs in (("inputs", found.inputs), ("outputs", found.outputs)):
        stated, held = stage.get(kind), [spec.name for spec in specs]
        if sorted(_texts(stated)) != sorted(held):
            text = f"{name}: {kind} are {_names(stated)}, but {stage.get('filename')} has {_names(held)}"
            yield Finding("config", "error", text, AGAIN)


def _wrapped(path: Path, found: GraphContents, binaries: Sequence[CompiledBinary]) -> Iterator[Finding]:
    """Check that a wrapper names an existing graph in a binary, with the same tensors."""
    for wrapped in read_wrapped(path):
        binary = next((each for each in binaries if each.name == Path(wrapped.binary).name), None)
        if binary is None:
            if not (path.parent / wrapped.binary).is_file():
                text = f"{path.name} names the binary {wrapped.binary}, which is missing"
                yield Finding("wrappers", "error", text, AGAIN)
            continue
        graph = next((each for each in binary.graphs if each.contents.name == wrapped.graph), None)
        if graph is None:
            text = f"{path.name} names the graph {wrapped.graph.lstrip('_')}, which is not in {binary.name}"
            yield Finding("wrappers", "error", text, AGAIN)
            continue
        for kind, ours, theirs in (
            ("input", found.inputs, graph.contents.inputs),
            ("output", found.outputs, graph.contents.outputs),
        ):
            plain = [spec.model_copy(update={"scale": None, "offset": None}) for spec in theirs]
            for name, one, other in differences(ours, plain):
                text = f"{path.name}: the {kind} {name} is {one or 'missing'}, but {binary.name} has {other or 'none'}"
                yield Finding("wrappers", "error", text, AGAIN)


def _flow(bundle: OpenedBundle, stages: Mapping[str, Mapping[str, object]], when: str) -> Iterator[Finding]:
    """Check that the runtime or an earlier graph provides every input, and that a graph outputs the logits."""
    names, layers = bundle.at(*DECODER, "inputs"), bundle.at(*DECODER, "num_hidden_layers")
    known = set(_texts(list(names.values()))) if isinstance(names, Mapping) else set()
    count = min(layers, MOST_LAYERS) if isinstance(layers, int) else 0
    known |= {name.replace("%d", str(layer)) for name in known if "%d" in name for layer in range(count)}
    for name, stage in stages.items():
        if stage.get(when, True) is False:
            continue
        for tensor in _texts(stage.get("inputs")):
            if tensor not in known:
                text = f"{name} has an input {tensor}, which no earlier graph outputs ({when})"
                yield Finding("config", "error", text, AGAIN)
        renamed = stage.get("output_names_forwarder")
        known |= {
            *_texts(stage.get("outputs")),
            *_texts(list(renamed.values()) if isinstance(renamed, Mapping) else []),
        }
    logits = bundle.at(*DECODER, "outputs", "logits")
    if not isinstance(logits, str) or logits not in known:
        yield Finding("config", "error", f"no graph outputs the logits {logits} ({when})", AGAIN)


def _sizes(
    bundle: OpenedBundle, stages: Mapping[str, Mapping[str, object]], opened: Mapping[str, GraphContents]
) -> Iterator[Finding]:
    """Compare the sizes of cache and windows with the graphs that read the prompt."""
    prompt = [opened[name] for name, stage in stages.items() if name in opened and stage.get("run_on_prompt", True)]
    tensors = {spec.name: spec for graph in prompt for spec in (*graph.inputs, *graph.outputs)}
    key, mask, ids = tensors.get("past_key_0_in"), tensors.get("attention_mask"), tensors.get("input_ids")
    layers = {match[2] for name in tensors for match in [PAST.match(name)] if match is not None and match[3] == "in"}
    vocabulary = tensors.get("logits")
    expected: list[tuple[tuple[str, ...], int]] = []
    if mask is not None and mask.shape:
        expected.append((("model", "context_length"), mask.shape[-1]))
    if ids is not None and ids.shape:
        expected.append(((*DECODER, "sliding_window", "window_size"), ids.shape[-1]))
    if key is not None and len(key.shape) == 4:
        expected += [((*DECODER, "num_key_value_heads"), key.shape[0]), ((*DECODER, "head_size"), key.shape[2])]
        expected.append(((*DECODER, "num_hidden_layers"), len(layers)))
        if key.dtype != "uint8":
            text = f"onnxruntime-genai stores keys as uint8, but the graphs take {key.dtype}"
            yield Finding("config", "error", text, "quantize keys and values to 8 bits, or use the format genie")
    if vocabulary is not None and vocabulary.shape:
        expected.append((("model", "vocab_size"), vocabulary.shape[-1]))
    for keys, value in expected:
        stated = bundle.at(*keys)
        if value not in (stated, DYNAMIC):
            text = f"{genai.NAME}: {'.'.join(keys)} is {stated}, but the graphs have {value}"
            yield Finding("config", "error", text, f"write {value}")
    pad, eos = bundle.at("model", "pad_token_id"), bundle.at("model", "eos_token_id")
    if pad is not None and pad in (eos if isinstance(eos, list) else [eos]):
        text = (
            f"pad_token_id {pad} also ends a turn: onnxruntime-genai treats it as padding wherever a prompt contains it"
        )
        yield Finding("config", "warning", text, "use a token that no prompt contains")


def _room(bundle: OpenedBundle) -> Iterator[Finding]:
    """What the padding of prompts leaves for an answer."""
    context, window = bundle.at("model", "context_length"), bundle.at(*DECODER, "sliding_window", "window_size")
    if isinstance(context, int) and isinstance(window, int) and window > 0:
        text = f"at most {longest_prompt(context, window)} of {context} tokens may be the prompt"
        if longest_prompt(context, window) > 0:
            yield Finding("room", "ok", f"{text}: onnxruntime-genai pads it to a multiple of {window}")
        else:
            text = f"no prompt leaves room for an answer: it is read {window} tokens at a time, of {context} in all"
            yield Finding("room", "error", text, "compile a longer context length")


def _texts(found: object) -> list[str]:
    """The strings in a list; none if it is not a list."""
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _names(names: object) -> str:
    return ", ".join(map(str, names)) if isinstance(names, list) and names else "none"
