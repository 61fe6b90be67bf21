"""Reading a bundle, whichever tool made it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from qairt.bundle import genai_config
from qairt.bundle.contents import GENIE_FORMS, Format
from qairt.bundle.geniex_reader import METADATA
from qairt.bundle.metadata import BundleMetadata, read_metadata
from qairt.bundle.model_package import packaged_bundle
from qairt.bundle.wrapper import read_wrapped
from qairt.errors import QairtError
from qairt.files import read_json
from qairt.toolchain.genie.config import EMBEDDING, GENIE_CONFIG, HTP_EXTENSIONS, value_at

CONFIGS: dict[Format, str] = {"geniex": GENIE_CONFIG, "genie": GENIE_CONFIG, "ort": genai_config.NAME}
"""The runtime's configuration, by format."""


@dataclass(frozen=True)
class OpenedBundle:
    """The content of its small files; binaries are not read."""

    folder: Path
    form: Format | None
    """None for parts without a runtime configuration."""
    config: Mapping[str, object]
    """The runtime's configuration; empty if there is none."""
    metadata: BundleMetadata | None
    """None for another tool's bundle."""

    def at(self, *keys: str) -> object:
        """A value of the configuration; None where it is missing."""
        return value_at(self.config, *keys)

    @property
    def kind(self) -> str:
        """The block that all of Genie's configuration is in."""
        return EMBEDDING if EMBEDDING in self.config else "dialog"

    def file(self, name: str) -> Path:
        """A file that the configuration names. A path on the device means the file of that name in this folder."""
        path = Path(name)
        if path.is_absolute() and not path.exists():
            return self.folder / path.name
        return self.folder / path

    def with_local_files(self) -> dict[str, object]:
        """Genie's configuration with paths on a device replaced by the files in this folder."""
        config = copy.deepcopy(dict(self.config))
        for keys in (
            ("tokenizer", "path"),
            ("engine", "backend", "extensions"),
            ("engine", "model", "binary", "ctx-bins"),
        ):
            parent, named = value_at(config, self.kind, *keys[:-1]), self.at(self.kind, *keys)
            if not isinstance(parent, dict):
                continue
            if isinstance(named, str):
                parent[keys[-1]] = self._local(named)
            elif isinstance(named, list):
                parent[keys[-1]] = [self._local(name) if isinstance(name, str) else name for name in named]
        return config

    def _local(self, name: str) -> str:
        found = self.file(name)
        return name if found == self.folder / name else found.name

    @property
    def is_for_genie(self) -> bool:
        """Its configuration is Genie's."""
        return self.form in GENIE_FORMS

    @property
    def binaries(self) -> list[str]:
        """The names of the context binaries, in the order they run."""
        if self.is_for_genie:
            binary = self.at(self.kind, "engine", "model", "binary")
            found = value_at(binary, "ctx-bins") or value_at(binary, "fcb")
            return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
        if self.metadata is not None:
            return list(self.metadata.binaries) or _unique(graph.binary for graph in self.metadata.graphs)
        return _unique(name for stage in self.pipeline.values() for name in self._wrapped(stage))

    @property
    def pipeline(self) -> dict[str, Mapping[str, object]]:
        """The graphs that onnxruntime-genai runs, by name, in order."""
        groups = self.at("model", "decoder", "pipeline")
        return {
            name: stage
            for group in (groups if isinstance(groups, list) else [])
            if isinstance(group, Mapping)
            for name, stage in group.items()
            if isinstance(stage, Mapping)
        }

    def _wrapped(self, stage: Mapping[str, object]) -> list[str]:
        """The binaries that a graph of the pipeline refers to; none for a plain ONNX graph."""
        name = stage.get("filename")
        if not isinstance(name, str) or not self.file(name).is_file():
            return []
        return [(Path(name).parent / each.binary).as_posix() for each in read_wrapped(self.file(name))]

    @property
    def tokenizer(self) -> str:
        if self.is_for_genie:
            path = self.at(self.kind, "tokenizer", "path")
            return path if isinstance(path, str) else "tokenizer.json"
        return "tokenizer.json"

    @property
    def extensions(self) -> str | None:
        """The backend's configuration that Genie's names."""
        named = self.at(self.kind, "engine", "backend", "extensions")
        if isinstance(named, list):
            named = named[0] if named else None
        return named if isinstance(named, str) else None


def open_bundle(folder: Path) -> OpenedBundle:
    """Open a bundle, or the only one of a model package.

    Raises:
        QairtError: the folder does not exist, is not a bundle, or its configuration cannot be read.
    """
    if not folder.is_dir():
        raise QairtError("the folder does not exist", where=str(folder), remedy="give the folder of a bundle")
    folder = packaged_bundle(folder) or folder
    metadata = read_metadata(folder)
    for form, name in CONFIGS.items():
        stated = metadata.format if metadata is not None else None
        is_form = form == stated if stated is not None else form != "geniex" or (folder / METADATA).is_file()
        if is_form and (folder / name).is_file():
            return OpenedBundle(folder, form, read_object(folder / name), metadata)
    if metadata is None:
        raise QairtError(
            f"it is not a bundle: it has no {GENIE_CONFIG}, {genai_config.NAME} or metadata.yaml",
            where=str(folder),
            remedy="`qairt export RECIPE DIR` writes one",
        )
    if metadata.format is not None:
        raise QairtError(
            f"{metadata.config} is missing, the configuration for {metadata.format}",
            where=str(folder),
            remedy="export the bundle again",
        )
    return OpenedBundle(folder, None, {}, metadata)


def _unique(names: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))


def read_object(path: Path) -> Mapping[str, object]:
    """
    Raises:
        QairtError: it cannot be read, or is not a JSON object.
    """
    try:
        found = read_json(path)
    except OSError as error:
        what = f"it cannot be read: {error.strerror or error}"
        raise QairtError(what, where=path.name, remedy="export the bundle again") from error
    except ValueError as error:
        raise QairtError(f"it is not valid JSON: {error}", where=path.name, remedy="export the bundle again") from error
    if not isinstance(found, dict):
        raise QairtError("it is not a JSON object", where=path.name, remedy="export the bundle again")
    return found


def extensions_of(bundle: OpenedBundle) -> Mapping[str, object]:
    """The content of `htp_backend_ext_config.json`; empty if it is missing.

    Raises:
        QairtError: it cannot be read, or is not a JSON object.
    """
    path = bundle.file(bundle.extensions or HTP_EXTENSIONS)
    return read_object(path) if path.is_file() else {}
