"""A bundle as it lies in a folder, of this tool or of another."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qairt.bundle import genai_config
from qairt.bundle.contents import Format
from qairt.bundle.metadata import BundleMetadata, read_metadata
from qairt.bundle.wrapper import read_wrapped
from qairt.errors import QairtError
from qairt.toolchain.genie.config import GENIE_CONFIG, HTP_EXTENSIONS


@dataclass(frozen=True)
class OpenedBundle:
    """What its small files say; no binary is read."""

    folder: Path
    form: Format | None
    """None for parts without a runtime's configuration."""
    config: Mapping[str, Any]
    """That configuration; empty when there is none."""
    metadata: BundleMetadata | None
    """None for another tool's bundle."""

    def at(self, *keys: str) -> Any:
        """A value of the configuration, None where it is not there."""
        return at(self.config, *keys)

    def file(self, name: str) -> Path:
        """A file that the configuration names. A path of the device stands for the file of that name here."""
        path = Path(name)
        if path.is_absolute() and not path.exists():
            return self.folder / path.name
        return self.folder / path

    def with_files_here(self) -> dict[str, Any]:
        """Genie's configuration, with the files in this folder where it names places on a device."""
        config: dict[str, Any] = copy.deepcopy(dict(self.config))
        for keys in (
            ("tokenizer", "path"),
            ("engine", "backend", "extensions"),
            ("engine", "model", "binary", "ctx-bins"),
        ):
            place, named = at(config, "dialog", *keys[:-1]), self.at("dialog", *keys)
            if isinstance(named, str):
                place[keys[-1]] = self._here(named)
            elif isinstance(named, list):
                place[keys[-1]] = [self._here(name) if isinstance(name, str) else name for name in named]
        return config

    def _here(self, name: str) -> str:
        found = self.file(name)
        return name if found == self.folder / name else found.name

    @property
    def binaries(self) -> list[str]:
        """The context binaries in the order they run, as they are named."""
        if self.form == "genie":
            binary = self.at("dialog", "engine", "model", "binary")
            found = at(binary, "ctx-bins") or at(binary, "fcb")
            return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
        if self.metadata is not None:
            return list(self.metadata.binaries) or _once(graph.binary for graph in self.metadata.graphs)
        return _once(name for stage in self.pipeline.values() for name in self._wrapped(stage))

    @property
    def pipeline(self) -> dict[str, Mapping[str, Any]]:
        """The graphs that onnxruntime-genai runs, by name and in order."""
        groups = self.at("model", "decoder", "pipeline")
        return {
            name: stage
            for group in (groups if isinstance(groups, list) else [])
            if isinstance(group, Mapping)
            for name, stage in group.items()
            if isinstance(stage, Mapping)
        }

    def _wrapped(self, stage: Mapping[str, Any]) -> list[str]:
        """The binary that a pipeline's graph stands for, beside that graph; none for a graph of its own."""
        name = stage.get("filename")
        if not isinstance(name, str) or not self.file(name).is_file():
            return []
        return [(Path(name).parent / each.binary).as_posix() for each in read_wrapped(self.file(name))]

    @property
    def tokenizer(self) -> str:
        if self.form == "genie":
            path = self.at("dialog", "tokenizer", "path")
            return path if isinstance(path, str) else "tokenizer.json"
        return "tokenizer.json"

    @property
    def extensions(self) -> str | None:
        """The backend's own configuration, which Genie is told of."""
        named = self.at("dialog", "engine", "backend", "extensions")
        if isinstance(named, list):
            named = named[0] if named else None
        return named if isinstance(named, str) else None


def open_bundle(folder: Path) -> OpenedBundle:
    """
    Raises:
        QairtError: there is no such folder, it holds no bundle, or its configuration cannot be read.
    """
    if not folder.is_dir():
        raise QairtError("there is no such folder", where=str(folder), remedy="give the folder of a bundle")
    metadata = read_metadata(folder)
    for form, name in (("genie", GENIE_CONFIG), ("ort", genai_config.NAME)):
        if (folder / name).is_file() and (metadata is None or metadata.format in (None, form)):
            return OpenedBundle(folder, form, read_json(folder / name), metadata)  # type: ignore[arg-type]
    if metadata is None:
        raise QairtError(
            f"it is no bundle: it holds neither {GENIE_CONFIG} nor {genai_config.NAME} nor metadata.yaml",
            where=str(folder),
            remedy="make one with `qairt export RECIPE DIR`",
        )
    if metadata.format is not None:
        raise QairtError(
            f"{metadata.config} is missing, which {metadata.format} reads first",
            where=str(folder),
            remedy="export the bundle again",
        )
    return OpenedBundle(folder, None, {}, metadata)


def _once(names: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))


def read_json(path: Path) -> Mapping[str, Any]:
    """
    Raises:
        QairtError: it is not a JSON object.
    """
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise QairtError(f"it is not JSON: {error}", where=path.name, remedy="export the bundle again") from error
    if not isinstance(found, dict):
        raise QairtError("it is not a JSON object", where=path.name, remedy="export the bundle again")
    return found


def at(found: Any, *keys: str) -> Any:
    """A value deep in JSON, None where it is not there."""
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def extensions_of(bundle: OpenedBundle) -> Mapping[str, Any]:
    """The content of `htp_backend_ext_config.json`; empty where there is none, or it cannot be read."""
    path = bundle.file(bundle.extensions or HTP_EXTENSIONS)
    try:
        return read_json(path) if path.is_file() else {}
    except QairtError:
        return {}
