"""Check that every file of a bundle exists and is unchanged."""

from __future__ import annotations

from collections.abc import Iterator

from qairt.amounts import count
from qairt.bundle import checksums, genai_config, run_scripts
from qairt.bundle.opened import OpenedBundle
from qairt.errors import Finding, QairtError
from qairt.files import sha256_of
from qairt.toolchain.genie.config import GENIE_CONFIG, HTP_EXTENSIONS

EDITABLE = {GENIE_CONFIG, HTP_EXTENSIONS, genai_config.NAME, run_scripts.GENIE_SCRIPT, run_scripts.ORT_SCRIPT}
"""Files that a user may edit after an export."""
AGAIN = "copy the bundle again, or export it again: qairt export RECIPE DIR"


def check_files(bundle: OpenedBundle) -> Iterator[Finding]:
    """Check that all named files exist and match `SHA256SUMS`, if there is one."""
    faults = []
    missing = sorted(name for name in named_files(bundle) if not bundle.file(name).is_file())
    faults += [Finding("files", "error", f"{name} is missing", AGAIN) for name in missing]
    digests: dict[str, str] = {}
    try:
        digests = checksums.read_checksums(bundle.folder)
    except QairtError as error:
        faults.append(Finding("files", "error", f"{error.where}: {error.what}", error.remedy))
    for name, digest in digests.items():
        path = bundle.folder / name
        if not path.is_file():
            if name not in missing:
                faults.append(Finding("files", "error", f"{name} is missing", AGAIN))
        elif sha256_of(path) != digest:
            faults.append(_changed(name))
    yield from faults
    if faults:
        return
    if digests:
        yield Finding("files", "ok", f"{count(len(digests), 'file')} match {checksums.NAME}")
    else:
        named = count(len(named_files(bundle)), "file")
        yield Finding(
            "files", "ok", f"{named} named by the configuration; there is no {checksums.NAME} to compare with"
        )


def named_files(bundle: OpenedBundle) -> set[str]:
    """Every file that the configuration and the metadata name."""
    names = {*bundle.binaries, bundle.tokenizer}
    if bundle.extensions is not None:
        names.add(bundle.extensions)
    if bundle.form == "ort":
        files = [stage.get("filename") for stage in bundle.pipeline.values()]
        names |= {name for name in files if isinstance(name, str)}
        single = bundle.at("model", "decoder", "filename")
        names |= {single} if isinstance(single, str) else set()
    if bundle.metadata is not None:
        for graph in bundle.metadata.graphs:
            names |= {name for name in (graph.binary, graph.wrapper, graph.onnx) if name}
        names |= {bundle.metadata.run} if bundle.metadata.run else set()
        if bundle.form is None:
            names.discard("tokenizer.json")
    return names


def _changed(name: str) -> Finding:
    if name in EDITABLE:
        text = f"{name} was changed after the export"
        return Finding("files", "warning", text, f"if you did not change it: {AGAIN}")
    return Finding("files", "error", f"{name} does not match {checksums.NAME}: it is damaged", AGAIN)
