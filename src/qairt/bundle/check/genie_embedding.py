"""Check `genie_config.json` of an embedding model against the model and its graphs."""

from __future__ import annotations

from collections.abc import Iterator

from qairt.bundle.genie_config import GenieFiles
from qairt.bundle.genie_embedding import genie_embedding_config
from qairt.bundle.opened import OpenedBundle
from qairt.errors import Finding, QairtError
from qairt.model.tokenizer import Tokenizer
from qairt.toolchain.genie.config import EMBEDDING, GENIE_CONFIG, value_at

_KEYS = (
    ("context", "n-vocab"),
    ("context", "ctx-size"),
    ("context", "embed-size"),
    ("prompt", "prompt-template"),
    ("engine", "backend", "QnnHtp", "pooled-output"),
    ("engine", "model", "mask-type"),
    ("engine", "model", "positional-encoding"),
)
"""What the model and its graphs determine."""


def check_embedding(bundle: OpenedBundle) -> Iterator[Finding]:
    """Compare the configuration with the model in metadata.yaml, if there is one."""
    metadata = bundle.metadata
    if metadata is None or metadata.model is None or metadata.model.pooling is None:
        return
    try:
        tokenizer = Tokenizer.from_directory(bundle.file(bundle.tokenizer).parent)
        size = max(graph.cl for graph in metadata.graphs)
        expected = genie_embedding_config(metadata.model, tokenizer, context_size=size, files=GenieFiles(["part"]))
    except QairtError as error:
        yield Finding("config", "error", f"{error.where}: {error.what}", error.remedy)
        return
    faults = []
    for keys in _KEYS:
        ours, theirs = value_at(expected, EMBEDDING, *keys), bundle.at(EMBEDDING, *keys)
        if ours != theirs:
            stated = "missing" if theirs is None else theirs
            text = f"{GENIE_CONFIG}: {'.'.join(keys)} is {stated}, but the model has {ours}"
            faults.append(Finding("config", "error", text, f"write {ours}"))
    yield from faults
    if not faults:
        yield Finding("config", "ok", f"{GENIE_CONFIG} matches the graphs and the model")
