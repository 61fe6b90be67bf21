"""Check a bundle as GenieX reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from qairt.bundle.check.files import AGAIN
from qairt.bundle.compiled import CompiledBinary
from qairt.bundle.geniex_reader import METADATA, GenieXModel, frequencies, graph_faults, read_geniex
from qairt.bundle.opened import OpenedBundle, read_object
from qairt.errors import Finding, QairtError
from qairt.model.config import DecoderConfig
from qairt.model.rope import inverse_frequencies
from qairt.toolchain.genie.config import GENIE_CONFIG

SETTINGS = "tokenizer_config.json"
_TOLERANCE = 1e-5


def check_geniex(bundle: OpenedBundle, binaries: Sequence[CompiledBinary]) -> Iterator[Finding]:
    """Compare what GenieX infers with the graphs and the model."""
    try:
        model = read_geniex(read_object(bundle.folder / METADATA))
    except (QairtError, OSError) as error:
        what = error.what if isinstance(error, QairtError) else "it cannot be read"
        yield Finding("geniex", "error", f"{METADATA}: {what}", AGAIN)
        return
    faults = [*_folder(bundle)]
    if len(binaries) == len(bundle.binaries):
        graphs = [graph.contents for binary in binaries for graph in binary.graphs]
        faults += [Finding("geniex", "error", text, AGAIN) for text in graph_faults(graphs, model)]
    if bundle.metadata is not None and bundle.metadata.model is not None:
        longest = max(graph.cl for graph in bundle.metadata.graphs)
        faults += _against(bundle, model, bundle.metadata.model, longest)
    yield from faults
    if not any(fault.status == "error" for fault in faults):
        sizes = f"{model.num_layers} layers, {model.kv_heads} KV heads of {model.head_dim}, {model.vocabulary:,} tokens"
        yield Finding("geniex", "ok", f"GenieX reads {model.model_id}: {model.parts} parts, {sizes}")


def _folder(bundle: OpenedBundle) -> Iterator[Finding]:
    nested = next((name for name in bundle.binaries if "/" in name), None)
    if nested is not None:
        text = f"{nested} is in a folder, and GenieX imports only the files beside {METADATA}"
        yield Finding("geniex", "error", text, AGAIN)
    try:
        template = read_object(bundle.folder / SETTINGS).get("chat_template")
    except (QairtError, OSError):
        template = None
    if not isinstance(template, str):
        text = f"{SETTINGS} has no chat_template, so GenieX cannot format a conversation"
        yield Finding("geniex", "warning", text, "give it prompts that need no template")


def _against(bundle: OpenedBundle, model: GenieXModel, config: DecoderConfig, context_size: int) -> Iterator[Finding]:
    for name, theirs, ours in (
        ("layers", model.num_layers, config.num_layers),
        ("KV heads", model.kv_heads, config.num_kv_heads),
        ("values a head", model.head_dim, config.head_dim),
        ("tokens in the vocabulary", model.vocabulary, config.vocab_size),
    ):
        if theirs != ours:
            text = f"{METADATA}: GenieX infers {theirs} {name}, the model has {ours}"
            yield Finding("geniex", "error", text, AGAIN)
    ours_at, our_factor = inverse_frequencies(config, context_size)
    theirs_at, their_factor = frequencies(bundle.config, model.head_dim)
    same = len(ours_at) == len(theirs_at) and np.allclose(ours_at, theirs_at, rtol=_TOLERANCE, atol=0)
    if not same or abs(our_factor - their_factor) > _TOLERANCE:
        text = f"{GENIE_CONFIG}: GenieX computes another rotary embedding from it than the model has"
        yield Finding("geniex", "error", text, AGAIN)
