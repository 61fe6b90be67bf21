"""The contents of a bundle before it is composed: files of the stages, and facts about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from qairt.files import read_regular
from qairt.graph.tensors import GraphSignature
from qairt.model.config import DecoderConfig
from qairt.model.names import PAST
from qairt.runtime.stored import Array
from qairt.toolchain.soc import Soc

Format = Literal["genie", "geniex", "ort"]
GENIE_FORMS: tuple[Format, ...] = ("genie", "geniex")
"""The formats with a `genie_config.json`."""


@dataclass(frozen=True)
class BinaryPart:
    """A part as a context binary with all its graphs."""

    binary: Path
    wrappers: Mapping[str, Path]
    """`EPContext` ONNX by graph name."""
    signatures: Mapping[str, Path]
    """Inputs and outputs by graph name."""


@dataclass(frozen=True)
class OnnxPart:
    """One graph of a part as quantized ONNX, for the CPU."""

    onnx: Path
    weights: Path
    signature: Path


@dataclass(frozen=True)
class ConcurrencyValues:
    """What the LoRA branches of the graphs take for one concurrency."""

    concurrency: str
    values: Path
    """Safetensors: every branch input of all parts as stored integers, by name."""
    strengths: Mapping[str, float] = field(default_factory=dict)
    """Of graphs that hold the adapters, the strength of each, in the order of `lora_alpha`."""

    def read(self) -> dict[str, Array]:
        from safetensors.numpy import load_file

        found: dict[str, Array] = load_file(self.values)
        return found


@dataclass(frozen=True)
class Adapters:
    """The LoRA concurrencies of a bundle."""

    concurrencies: Sequence[ConcurrencyValues]
    """The base first."""


@dataclass(frozen=True)
class Contents:
    """Everything in a bundle except its configuration."""

    parts: Sequence[BinaryPart] | Sequence[OnnxPart]
    """In the order they run."""
    soc: Soc | None
    """The chip of the binaries; None if there are none."""
    model: Path | None
    """The decoder's configuration as JSON; None for an external ONNX graph."""
    tokenizer: Path | None
    """The folder of the tokenizer's files."""
    already_quantized: str | None = None
    """How the model's weights were stored, if they were quantized before."""
    adapters: Adapters | None = None
    """None if the graphs have no LoRA branches."""
    geniex_id: str = ""
    """By which GenieX chooses how it runs the model; needed for that format alone."""

    def config(self) -> DecoderConfig | None:
        return None if self.model is None else DecoderConfig.model_validate_json(read_regular(self.model))

    def suit_genai(self) -> bool:
        """Whether onnxruntime-genai can run them: AR 1 and a larger AR of at most half the context, and 8-bit keys and
        values."""
        signatures = [GraphSignature.read(path) for path in self.signature_files()]
        ars = {signature.ar for signature in signatures}
        kept = {spec.dtype for signature in signatures for spec in signature.inputs if PAST.match(spec.name)}
        longest = max(signature.cl for signature in signatures)
        return 1 in ars and len(ars) > 1 and 2 * max(ars) <= longest and kept == {"uint8"}

    def signature_files(self) -> Iterator[Path]:
        for part in self.parts:
            yield from part.signatures.values() if isinstance(part, BinaryPart) else [part.signature]

    def description_files(self) -> Iterator[Path]:
        """The files that only metadata is read from."""
        if self.model is not None:
            yield self.model
        yield from self.signature_files()


@dataclass(frozen=True)
class PlacedGraph:
    """A graph in the bundle; paths are relative to its folder."""

    name: str
    signature: GraphSignature
    file: str
    """The file for ONNX Runtime: a wrapper, or the quantized ONNX. Empty if the bundle has no wrappers."""
    binary: str | None
    """Its context binary."""
