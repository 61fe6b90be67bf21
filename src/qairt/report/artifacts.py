"""What a run built, from the cache: sizes, and the bundle for the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import Entry, read_entry
from qairt.report.facts import BundleFile, Size

_FORMS = (
    ("export", "", "float graph (ONNX)"),
    ("split_model", ".onnx .bin", "float parts (ONNX)"),
    ("convert", ".dlc", "float graphs (DLC)"),
    ("quantize", ".onnx .bin", "quantized graphs (ONNX)"),
    ("quantize", ".dlc", "quantized graphs (DLC)"),
    ("generate_context_binary", ".bin", "context binaries"),
    ("export_bundle", "", "device bundle"),
)
"""Stage, file endings (all when empty) and description of each form, from the float model to the device."""
_WEIGHTS = (".safetensors", ".gguf", ".bin")
_BUNDLE = "bundle/"
_SUMS = "SHA256SUMS"


def entries_of(cache: StageCache, stage: str) -> Iterator[Entry]:
    """The cache entries of a stage. Read-only: damaged entries are skipped and stay in place."""
    for directory in sorted((cache.cache_dir / stage).glob(f"{stage}_*")):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            yield read_entry(directory)


def sizes_of(entries: Mapping[tuple[str, str], Entry], model: str) -> list[Size]:
    """The size of the model in each form, from the input to the device bundle; equal contents count once.

    Args:
        model: its file or folder; skipped if it is not on this machine.
    """
    sizes = _model_size(Path(model)) if model else []
    for stage, endings, what in _FORMS:
        files = [
            file
            for (of, _), entry in entries.items()
            if of == stage
            for name, file in entry.files.items()
            if name != "output.json" and (not endings or Path(name).suffix in endings.split())
        ]
        if files:
            contents = {str(file["sha256"]): int(file["size"]) for file in files}
            sizes.append(Size(what, len(files), sum(contents.values()), stage))
    return sizes


def bundle_of(entries: Mapping[tuple[str, str], Entry]) -> list[BundleFile]:
    """The files of the bundle, with the digests recorded when it was built."""
    return [
        BundleFile(name.removeprefix(_BUNDLE), int(file["size"]), str(file["sha256"]))
        for (stage, _), entry in entries.items()
        if stage == "export_bundle"
        for name, file in sorted(entry.files.items(), key=lambda each: (each[0].endswith(_SUMS), each[0]))
        if name.startswith(_BUNDLE)
    ]


def _model_size(model: Path) -> list[Size]:
    try:
        files = [model] if model.is_file() else [path for path in model.iterdir() if path.suffix in _WEIGHTS]
        return [Size("input model", len(files), sum(path.stat().st_size for path in files))] if files else []
    except OSError:
        return []
