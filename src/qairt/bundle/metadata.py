"""`metadata.yaml`: the contents of a bundle, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qairt.bundle.contents import Format
from qairt.errors import QairtError
from qairt.files import read_text
from qairt.graph.tensors import GraphSignature
from qairt.model.config import DecoderConfig

NAME = "metadata.yaml"


class BundleSoc(BaseModel):
    """The chip of the binaries."""

    model_config = ConfigDict(extra="ignore")

    name: str
    id: int
    htp: int
    vtcm_mb: int


class BundleGraph(GraphSignature):
    """A graph with all inputs and outputs, and its files."""

    model_config = ConfigDict(extra="ignore")

    binary: str | None = None
    """The context binary."""
    wrapper: str | None = None
    """Its `EPContext` ONNX, in an `ort` bundle."""
    onnx: str | None = None
    """The quantized ONNX itself, where there is no binary."""


class BundleMetadata(BaseModel):
    """The fields that qairt reads; the file may have more."""

    model_config = ConfigDict(extra="ignore")

    backend: str
    format: Format | None = None
    """`genie`, `geniex` or `ort`; None for parts without a runtime configuration."""
    config: str | None = None
    """The file name of the runtime's configuration."""
    run: str | None = None
    """The script that answers a prompt."""
    context_length: int | None = None
    """The longest of all graphs."""
    binaries: tuple[str, ...] = ()
    """In the order they run."""
    concurrencies: tuple[str, ...] = ()
    """Of LoRA adapters, the base first; their values are in the folder `lora`."""
    soc: BundleSoc | None = None
    model: DecoderConfig | None = None
    graphs: Annotated[tuple[BundleGraph, ...], Field(min_length=1)]


def write_metadata(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(
        yaml.safe_dump(dict(content), sort_keys=False, width=120, default_flow_style=None), encoding="utf-8"
    )


def read_metadata(folder: Path) -> BundleMetadata | None:
    """Read the metadata; None if there is none: another tool's bundle.

    Raises:
        QairtError: the file is malformed.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    remedy = "export the bundle again"
    try:
        return BundleMetadata.model_validate(yaml.safe_load(read_text(path)))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise QairtError(f"{place}: {fault['msg']}" if place else fault["msg"], where=NAME, remedy=remedy) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise QairtError(f"it is not valid YAML: {' '.join(str(error).split())}", where=NAME, remedy=remedy) from error
