"""`metadata.yaml`: what is in a bundle, for people and for what runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qairt.bundle.contents import Format
from qairt.errors import QairtError
from qairt.graph.tensors import GraphSignature
from qairt.model.config import DecoderConfig

NAME = "metadata.yaml"


class BundleSoc(BaseModel):
    """The chip the binaries are for."""

    model_config = ConfigDict(extra="ignore")

    name: str
    id: int
    htp: int
    vtcm_mb: int


class BundleGraph(GraphSignature):
    """A graph with every input and output, and the files it is in."""

    model_config = ConfigDict(extra="ignore")

    binary: str | None = None
    """The context binary."""
    wrapper: str | None = None
    """Its `EPContext` ONNX, in an `ort` bundle."""
    onnx: str | None = None
    """The quantized ONNX itself, where there is no binary."""


class BundleMetadata(BaseModel):
    """What a program reads of it; the file may say more."""

    model_config = ConfigDict(extra="ignore")

    backend: str
    format: Format | None = None
    """`genie` or `ort`; None for parts without a runtime's configuration."""
    config: str | None = None
    """That runtime's configuration."""
    run: str | None = None
    """The script that answers a prompt."""
    context_length: int | None = None
    """The longest of the graphs."""
    binaries: tuple[str, ...] = ()
    """In the order they run."""
    soc: BundleSoc | None = None
    model: DecoderConfig | None = None
    graphs: Annotated[tuple[BundleGraph, ...], Field(min_length=1)]


def write_metadata(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False, width=120, default_flow_style=None))


def read_metadata(folder: Path) -> BundleMetadata | None:
    """None where the folder has none: another tool's bundle.

    Raises:
        QairtError: it is not what qairt writes.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    remedy = "export the bundle again"
    try:
        return BundleMetadata.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise QairtError(f"{place}: {fault['msg']}" if place else fault["msg"], where=NAME, remedy=remedy) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise QairtError(f"it is not YAML: {' '.join(str(error).split())}", where=NAME, remedy=remedy) from error
