"""What a toolchain does, and what it hands back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qairt.graph.tensors import TensorSpec

if TYPE_CHECKING:
    from qairt.toolchain.progress import Progress
    from qairt.toolchain.soc import Soc


@dataclass(frozen=True)
class GraphContents:
    """One graph as it was read out of an artifact."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Inspection:
    """What an artifact holds, read from its bytes."""

    kind: str
    """`dlc`, `context binary` or `onnx`."""
    graphs: tuple[GraphContents, ...]
    """In the order they stand in it. A DLC's tensors are known by name only, see `names`."""
    names: frozenset[str] = frozenset()
    """DLC only: every name in it, of graphs, tensors and operations."""
    sdk_version: str = ""
    soc_model: int = 0
    """Context binary only: the chip's number that it was compiled for."""


@dataclass(frozen=True)
class LinkResult:
    """One context binary and what belongs to it."""

    binary: Path
    wrappers: dict[str, Path]
    """`EPContext` ONNX by graph name: what ONNX Runtime loads on the device."""
    configs: list[Path]
    """The HTP configuration it was made with."""
    inspection: Inspection
    """What was read back from the binary."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Compile time by graph name."""


class Toolchain(Protocol):
    """The five verbs, functions of a module. Each verifies what it made; a return code is no proof.

    `qnn` has all of them; `cpu` makes no NPU artifacts and has `version`, `require`, `inspect` and `session` only.
    `sdk` has `convert`, `quantize` and `link` in forms of its own, for its tools take other things: the encodings, the
    float DLC with test vectors, and quantized DLCs. What it makes is read back by `qnn.inspect`.

    All raise `ToolchainNotAvailable` when the toolchain is missing, and `ToolchainError` when it failed or its artifact
    is not what was asked for.
    """

    def version(self) -> str:
        """Short, cheap and stable: part of cache keys."""
        ...

    def require(self) -> None:
        """Raise `ToolchainNotAvailable` unless it can be used here."""
        ...

    def convert(self, onnx: Path, dlc: Path) -> None:
        """A float ONNX to a float DLC."""
        ...

    def quantize(self, onnx: Path, dlc: Path) -> None:
        """A quantize-dequantize ONNX to a quantized DLC."""
        ...

    def link(
        self,
        graphs: Sequence[tuple[Path, str]],
        out_dir: Path,
        *,
        binary_name: str,
        soc: Soc,
        optimization_level: int,
        progress: Progress,
    ) -> LinkResult:
        """Quantize-dequantize ONNX files and the names of their graphs to one binary that holds shared weights once."""
        ...

    def inspect(self, path: Path) -> Inspection:
        """What an artifact holds."""
        ...

    def session(self, onnx: Path, *, threads: int = 1) -> Any:
        """An `onnxruntime.InferenceSession` that runs a quantize-dequantize ONNX."""
        ...
