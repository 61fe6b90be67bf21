"""What a run made, by what is in the cache of it: sizes, and the bundle for the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from qairt.engine.cache.cache import Entry, StageCache, read_entry
from qairt.report.facts import BundleFile, Size

_FORMS = (
    ("export", "", "float graph (ONNX)"),
    ("convert", ".dlc", "float graphs (DLC)"),
    ("quantize", ".onnx .bin", "quantized graphs (ONNX)"),
    ("quantize", ".dlc", "quantized graphs (DLC)"),
    ("generate_context_binary", ".bin", "context binaries"),
    ("export_bundle", "", "device bundle"),
)
"""Stage, the endings that count (all when empty), and what they are, from the float model to the device."""
_WEIGHTS = (".safetensors", ".gguf", ".bin")
_BUNDLE = "bundle/"
_SUMS = "SHA256SUMS"


def entries_of(cache: StageCache, stage: str) -> Iterator[Entry]:
    """What is in the cache of a stage. Looks only: what is damaged stays where it is and is left out."""
    for directory in sorted((cache.cache_dir / stage).glob(f"{stage}_*")):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            yield read_entry(directory)


def sizes_of(entries: Mapping[tuple[str, str], Entry], model: str) -> list[Size]:
    """The model in each of its forms, from what was given to what goes to the device; a content counts once.

    Args:
        model: its file or folder; passed over where it is not on this machine.
    """
    found = _given(Path(model)) if model else []
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
            found.append(Size(what, len(files), sum(contents.values()), stage))
    return found


def bundle_of(entries: Mapping[tuple[str, str], Entry]) -> list[BundleFile]:
    """The files of the bundle with the digests that were taken when it was made."""
    return [
        BundleFile(name.removeprefix(_BUNDLE), int(file["size"]), str(file["sha256"]))
        for (stage, _), entry in entries.items()
        if stage == "export_bundle"
        for name, file in sorted(entry.files.items(), key=lambda each: (each[0].endswith(_SUMS), each[0]))
        if name.startswith(_BUNDLE)
    ]


def _given(model: Path) -> list[Size]:
    try:
        files = [model] if model.is_file() else [path for path in model.iterdir() if path.suffix in _WEIGHTS]
        return [Size("the model as given", len(files), sum(path.stat().st_size for path in files))] if files else []
    except OSError:
        return []
