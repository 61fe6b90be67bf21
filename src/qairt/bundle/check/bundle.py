"""Check a bundle as far as possible without a device."""

from __future__ import annotations

from pathlib import Path

from qairt.bundle.chat_prompt import prompt_affixes
from qairt.bundle.check import genie as check_genie
from qairt.bundle.check import geniex as check_geniex
from qairt.bundle.check import ort as check_ort
from qairt.bundle.check.adapters import check_adapters
from qairt.bundle.check.files import check_files
from qairt.bundle.check.graphs import check_graphs, open_binaries
from qairt.bundle.check.tokenizer import check_tokenizer
from qairt.bundle.opened import OpenedBundle, open_bundle
from qairt.errors import Finding, QairtError, ToolchainNotAvailable
from qairt.model.tokenizer import Tokenizer
from qairt.toolchain.genie.config import EMBEDDING


def check_bundle(folder: Path) -> list[Finding]:
    """The results of all checks.

    1. Every file that is named exists, with the digest in `SHA256SUMS`.
    2. The binaries can be read: chip, size, graphs, tensors and encodings; the parts fit each other.
    3. The runtime's configuration matches the graphs and the model; the tokenizer is the model's.
    4. The values of every LoRA concurrency fit the graphs, and are the same in every format.
    5. Genie accepts the configuration, and loads the bundle where this machine can.
    6. What GenieX reads of a bundle for it (`geniex_reader`) is the model, and it can run the graphs.

    A bundle of another tool has no `metadata.yaml`; only its files are compared with each other.

    Raises:
        QairtError: the folder is not a bundle, or its configuration cannot be read.
    """
    bundle = open_bundle(folder)
    findings = list(check_files(bundle))
    try:
        binaries, faults = open_binaries(bundle)
    except ToolchainNotAvailable as error:
        binaries, faults = [], [Finding("binaries", "warning", f"not read: {error.what}", error.remedy)]
    findings += faults
    if binaries:
        findings += check_graphs(bundle, binaries)
    if bundle.is_for_genie:
        findings += check_genie.check_config(bundle, binaries)
    elif bundle.form == "ort":
        findings += check_ort.check_config(bundle, binaries)
    if bundle.form == "geniex":
        findings += check_geniex.check_geniex(bundle, binaries)
    findings += [*check_adapters(bundle), *_tokenizer(bundle), *_prompt(bundle)]
    if bundle.is_for_genie:
        findings += check_genie.check_with_vendor(bundle, binaries)
    return findings


def _tokenizer(bundle: OpenedBundle) -> list[Finding]:
    vocabulary: object
    ends: object
    if bundle.is_for_genie:
        vocabulary, ends = (bundle.at(bundle.kind, "context", key) for key in ("n-vocab", "eos-token"))
    else:
        vocabulary, ends = (bundle.at("model", key) for key in ("vocab_size", "eos_token_id"))
    if bundle.metadata is not None and bundle.metadata.model is not None:
        vocabulary = bundle.metadata.model.vocab_size  # a wrong number in the configuration is another finding
    tokens = [token for token in (ends if isinstance(ends, list) else [ends]) if isinstance(token, int) and token >= 0]
    size = vocabulary if isinstance(vocabulary, int) else None
    return list(check_tokenizer(bundle.file(bundle.tokenizer), vocabulary=size, end_tokens=tokens))


def _prompt(bundle: OpenedBundle) -> list[Finding]:
    """Whether the bundle's script applies the model's chat template."""
    if bundle.metadata is None or bundle.metadata.run is None or bundle.kind == EMBEDDING:
        return []
    try:
        warning = prompt_affixes(Tokenizer.from_directory(bundle.folder)).warning
    except QairtError:  # found by the checks of files and tokenizer
        return []
    remedy = "`qairt execute RECIPE PROMPT --target device` applies the template"
    return [Finding("prompt", "warning", f"{bundle.metadata.run}: {warning}", remedy)] if warning else []
