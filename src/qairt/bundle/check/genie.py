"""Whether `genie_config.json` says what the graphs and the model are, and what Genie itself says of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from qairt.bundle.chat_prompt import genie_prompt
from qairt.bundle.check.files import AGAIN
from qairt.bundle.compiled import CompiledBinary, lengths, tensors_named
from qairt.bundle.genie_config import genie_config
from qairt.bundle.opened import OpenedBundle, at
from qairt.errors import Finding, QairtError, ToolchainNotAvailable
from qairt.model.tokenizer import Tokenizer
from qairt.toolchain.genie.config import GENIE_CONFIG

Place = tuple[str, ...]
CONTEXT = ("dialog", "context")
HTP = ("dialog", "engine", "backend", "QnnHtp")
ENCODING = ("dialog", "engine", "model", "positional-encoding")
BEGIN = (*CONTEXT, "bos-token")
OF_THE_MODEL = (
    (*CONTEXT, "size"),
    (*CONTEXT, "n-vocab"),
    BEGIN,
    (*CONTEXT, "eos-token"),
    (*HTP, "kv-dim"),
    (*HTP, "pos-id-dim"),
    (*HTP, "rope-theta"),
    ENCODING,
)
"""What follows from the model and its graphs; the rest is a user's choice."""


def check_config(bundle: OpenedBundle, binaries: Sequence[CompiledBinary]) -> Iterator[Finding]:
    """The configuration against the tensors of the graphs and, where metadata.yaml describes it, the model."""
    faults = dict(_against_model(bundle)) | dict(_against_graphs(bundle, binaries))
    yield from faults.values()
    if not faults and binaries:
        against = "the graphs and the model" if bundle.metadata is not None else "the graphs"
        yield Finding("config", "ok", f"{GENIE_CONFIG} suits {against}")


def check_with_vendor(bundle: OpenedBundle, binaries: Sequence[CompiledBinary]) -> Iterator[Finding]:
    """Genie's own words about the configuration, and about the whole where it can be loaded on this machine."""
    from qairt.toolchain.genie import dialog as genie

    whole = len(binaries) == len(bundle.binaries) > 0
    several = [binary for binary in binaries if len(binary.graphs) > 1]
    try:
        faults = _complaints(genie.check_config(bundle.config, folder=bundle.folder))
        if faults:
            yield from faults
        elif not whole:
            yield Finding(
                "genie", "ok", "Genie takes the configuration; it was not loaded, for not every binary could be opened"
            )
        elif several:
            yield Finding("genie", "ok", f"Genie takes the configuration; {_why_not(several[0])}")
        else:
            faults = _complaints(genie.try_dialog(bundle.with_files_here(), folder=bundle.folder))
            yield from faults
            if not faults:
                yield Finding("genie", "ok", "Genie takes the configuration, and loaded all binaries")
    except ToolchainNotAvailable as error:
        yield Finding("genie", "warning", f"not tried with Genie itself: {error.what}", error.remedy)


def _complaints(told: Sequence[str]) -> list[Finding]:
    remedy = f"correct {GENIE_CONFIG}, or export the bundle again"
    return [Finding("genie", "error", f"Genie: {text}", remedy) for text in told]


def _why_not(binary: CompiledBinary) -> str:
    return (
        f"the binaries are not loaded here, for {binary.name} holds {len(binary.graphs)} graphs, and loading such a"
        " binary on x86 ends the vendor's process. What stands in for it: `qairt generate RECIPE PROMPT --target genie`"
        " and `qairt verify RECIPE`, which load the same quantized parts as binaries of one graph"
    )


def _against_graphs(bundle: OpenedBundle, binaries: Sequence[CompiledBinary]) -> Iterator[tuple[Place, Finding]]:
    """By the field that is wrong."""
    cos = tensors_named(binaries, "position_ids_cos")
    keys = tensors_named(binaries, "past_key_0_in")
    logits = tensors_named(binaries, "logits")
    encoding = bundle.at(*ENCODING)
    rotated = (*ENCODING, "rope-dim") if isinstance(encoding, dict) else (*HTP, "pos-id-dim")
    longest = lengths(binaries)
    for place, found, what in (
        ((*CONTEXT, "size"), longest[-1:], "the longest context of the graphs"),
        ((*CONTEXT, "n-vocab"), [spec.shape[-1] for spec in logits], "the tokens that logits score"),
        ((*HTP, "kv-dim"), [spec.shape[2] for spec in keys if len(spec.shape) == 4], "the size of a head's keys"),
        (rotated, [spec.shape[-1] for spec in cos], "the angles of a position"),
    ):
        stated = bundle.at(*place)
        if not found or stated is None:
            continue  # Genie's own schema says what must be there
        if stated not in found:
            text = f"{_shown(place)} is {stated}, but {what} is {found[0]}"
            yield place, Finding("config", "error", text, f"write {found[0]}")
    if binaries and not cos and tensors_named(binaries, "attention_mask"):
        yield (), Finding("config", "warning", "no graph takes position_ids_cos", "check how positions reach the model")


def _against_model(bundle: OpenedBundle) -> Iterator[tuple[Place, Finding]]:
    """The same."""
    metadata = bundle.metadata
    if metadata is None or metadata.model is None:
        return
    size = max(graph.cl for graph in metadata.graphs)
    puts_begin = _puts_begin(bundle, metadata.model.bos_token_id)
    try:
        wanted = genie_config(
            metadata.model,
            context_size=size,
            binaries=["part"],
            tokenizer=bundle.tokenizer,
            puts_begin=puts_begin is not False,
        )
    except QairtError as error:
        yield (), Finding("config", "error", f"{error.where}: {error.what}", error.remedy)
        return
    except (KeyError, TypeError, ValueError, ArithmeticError):
        text = "metadata.yaml: model.rope_scaling is not what an export writes"
        yield (), Finding("config", "error", text, AGAIN)
        return
    for place in OF_THE_MODEL:
        ours, theirs = at(wanted, *place), bundle.at(*place)
        if place == BEGIN and puts_begin is None:
            continue
        if ours != theirs:
            text = f"{_shown(place)} is {_value(theirs)}, the model's is {_value(ours)}"
            remedy = "remove it" if ours is None else f"write {_value(ours)}"
            yield place, Finding("config", "error", text, remedy)


def _puts_begin(bundle: OpenedBundle, begin: int | None) -> bool | None:
    """None where the tokenizer and its chat template are not beside the configuration: that tells it."""
    path = bundle.file(bundle.tokenizer)
    if path.parent != bundle.folder:
        return None
    try:
        _, puts_begin = genie_prompt(Tokenizer.from_directory(bundle.folder), begin)
    except QairtError:  # said by the checks of files and of the tokenizer
        return None
    return puts_begin


def _value(value: Any) -> str:
    return "missing" if value is None else str(value)


def _shown(place: Sequence[str]) -> str:
    return f"{GENIE_CONFIG}: {'.'.join(place[1:])}"
