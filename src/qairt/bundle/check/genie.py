"""Check `genie_config.json` against the graphs and the model, and with Genie itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qairt.bundle.chat_prompt import genie_affixes
from qairt.bundle.check.files import AGAIN
from qairt.bundle.check.genie_embedding import check_embedding
from qairt.bundle.compiled import CompiledBinary, lengths, tensors_named
from qairt.bundle.genie_config import GenieFiles, genie_config
from qairt.bundle.opened import OpenedBundle
from qairt.errors import Finding, QairtError, ToolchainNotAvailable
from qairt.model.tokenizer import Tokenizer
from qairt.toolchain.genie.config import EMBEDDING, GENIE_CONFIG, value_at

KeyPath = tuple[str, ...]
CONTEXT = ("dialog", "context")
HTP = ("dialog", "engine", "backend", "QnnHtp")
ENCODING = ("dialog", "engine", "model", "positional-encoding")
BOS = (*CONTEXT, "bos-token")
MODEL_KEYS = (
    (*CONTEXT, "size"),
    (*CONTEXT, "n-vocab"),
    BOS,
    (*CONTEXT, "eos-token"),
    (*HTP, "kv-dim"),
    (*HTP, "pos-id-dim"),
    (*HTP, "rope-theta"),
    ENCODING,
)
"""Keys that the model and its graphs determine; the rest is up to the user."""


def check_config(bundle: OpenedBundle, binaries: Sequence[CompiledBinary]) -> Iterator[Finding]:
    """Compare the configuration with the graphs' tensors and, if metadata.yaml describes it, with the model."""
    if bundle.kind == EMBEDDING:
        yield from check_embedding(bundle)
        return
    faults = dict(_against_model(bundle)) | dict(_against_graphs(bundle, binaries))
    yield from faults.values()
    if not faults and binaries:
        against = "the graphs and the model" if bundle.metadata is not None else "the graphs"
        yield Finding("config", "ok", f"{GENIE_CONFIG} matches {against}")


def check_with_vendor(bundle: OpenedBundle, binaries: Sequence[CompiledBinary]) -> Iterator[Finding]:
    """Genie's complaints about the configuration, and about the bundle where this machine can load it."""
    from qairt.toolchain.genie import dialog as genie

    whole = len(binaries) == len(bundle.binaries) > 0
    several = [binary for binary in binaries if len(binary.graphs) > 1]
    try:
        faults = _complaints(genie.check_config(bundle.config, folder=bundle.folder))
        if faults:
            yield from faults
        elif not whole:
            yield Finding(
                "genie",
                "ok",
                "Genie accepts the configuration; the bundle was not loaded because a binary could not be read",
            )
        elif several:
            yield Finding("genie", "ok", f"Genie accepts the configuration; {_not_loaded(several[0])}")
        else:
            faults = _complaints(genie.try_dialog(bundle.with_local_files(), folder=bundle.folder))
            yield from faults
            if not faults:
                yield Finding("genie", "ok", "Genie accepts the configuration and loads all binaries")
    except ToolchainNotAvailable as error:
        yield Finding("genie", "warning", f"not checked with Genie itself: {error.what}", error.remedy)


def _complaints(texts: Sequence[str]) -> list[Finding]:
    remedy = f"correct {GENIE_CONFIG}, or export the bundle again"
    return [Finding("genie", "error", f"Genie: {text}", remedy) for text in texts]


def _not_loaded(binary: CompiledBinary) -> str:
    return (
        f"the binaries are not loaded here because {binary.name} holds {len(binary.graphs)} graphs: on x86, loading"
        " such a binary crashes the vendor's libraries. Instead, `qairt generate RECIPE PROMPT --target genie` and"
        " `qairt verify RECIPE` load the same quantized parts as binaries of one graph each"
    )


def _against_graphs(bundle: OpenedBundle, binaries: Sequence[CompiledBinary]) -> Iterator[tuple[KeyPath, Finding]]:
    """Findings by the key that is wrong."""
    cos = tensors_named(binaries, "position_ids_cos")
    past_keys = tensors_named(binaries, "past_key_0_in")
    logits = tensors_named(binaries, "logits")
    encoding = bundle.at(*ENCODING)
    angles = (*ENCODING, "rope-dim") if isinstance(encoding, dict) else (*HTP, "pos-id-dim")
    longest = lengths(binaries)
    for keys, found, what in (
        ((*CONTEXT, "size"), longest[-1:], "the longest context of the graphs"),
        ((*CONTEXT, "n-vocab"), [spec.shape[-1] for spec in logits], "the size of the logits"),
        ((*HTP, "kv-dim"), [spec.shape[2] for spec in past_keys if len(spec.shape) == 4], "the size of a head's keys"),
        (angles, [spec.shape[-1] for spec in cos], "the number of angles per position"),
    ):
        stated = bundle.at(*keys)
        if not found or stated is None:
            continue  # Genie's own schema requires what is missing
        if stated not in found:
            text = f"{_key_text(keys)} is {stated}, but {what} is {found[0]}"
            yield keys, Finding("config", "error", text, f"write {found[0]}")
    if binaries and not cos and tensors_named(binaries, "attention_mask"):
        yield (
            (),
            Finding(
                "config", "warning", "no graph has an input position_ids_cos", "check how positions reach the model"
            ),
        )


def _against_model(bundle: OpenedBundle) -> Iterator[tuple[KeyPath, Finding]]:
    """Findings by the key that is wrong."""
    metadata = bundle.metadata
    if metadata is None or metadata.model is None:
        return
    size = max(graph.cl for graph in metadata.graphs)
    adds_bos = _adds_bos(bundle, metadata.model.bos_token_id)
    try:
        expected = genie_config(
            metadata.model,
            context_size=size,
            files=GenieFiles(["part"], bundle.tokenizer),
            adds_bos=adds_bos is not False,
        )
    except QairtError as error:
        yield (), Finding("config", "error", f"{error.where}: {error.what}", error.remedy)
        return
    except (KeyError, TypeError, ValueError, ArithmeticError):
        text = "metadata.yaml: model.rope_scaling is malformed"
        yield (), Finding("config", "error", text, AGAIN)
        return
    for keys in MODEL_KEYS:
        ours, theirs = value_at(expected, *keys), bundle.at(*keys)
        if keys == BOS and adds_bos is None:
            continue
        if ours != theirs:
            text = f"{_key_text(keys)} is {_value(theirs)}, but the model has {_value(ours)}"
            remedy = "remove it" if ours is None else f"write {_value(ours)}"
            yield keys, Finding("config", "error", text, remedy)


def _adds_bos(bundle: OpenedBundle, bos: int | None) -> bool | None:
    """Whether Genie should add it; None if the tokenizer, which determines it, is not beside the configuration."""
    path = bundle.file(bundle.tokenizer)
    if path.parent != bundle.folder:
        return None
    try:
        _, adds_bos = genie_affixes(Tokenizer.from_directory(bundle.folder), bos)
    except QairtError:  # found by the checks of files and tokenizer
        return None
    return adds_bos


def _value(value: object) -> str:
    return "missing" if value is None else str(value)


def _key_text(keys: Sequence[str]) -> str:
    return f"{GENIE_CONFIG}: {'.'.join(keys[1:])}"
