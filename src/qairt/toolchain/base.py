"""The seam between the stages and the tools that make NPU artifacts.

A `Toolchain` makes the artifacts of three stages: `convert`, `quantize` and `generate_context_binary`. `qnn` (the
compiler in the wheel onnxruntime-qnn) and `sdk` (the tools of a QAIRT SDK) implement it; the stages pick one in
`qairt.stages.toolchain_choice`. Each verifies what it made: a return code is no proof. What either made is read back by
`qairt.toolchain.qnn.inspection`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qairt.graph.tensors import GraphSignature, TensorSpec

if TYPE_CHECKING:
    from qairt.toolchain.progress import Progress
    from qairt.toolchain.soc import Soc


@dataclass(frozen=True)
class GraphContents:
    """One graph as read from an artifact."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Inspection:
    """The contents of an artifact, read from its bytes."""

    kind: str
    """`dlc`, `context binary` or `onnx`."""
    graphs: tuple[GraphContents, ...]
    """In file order. A DLC's tensors are known by name only, see `names`."""
    names: frozenset[str] = frozenset()
    """DLC only: the names of all its graphs, tensors and operations."""
    sdk_version: str = ""
    soc_model: int = 0
    """Context binary only: the id of the chip it was compiled for."""


@dataclass(frozen=True)
class PartToQuantize:
    """A part in every form that a toolchain may start from."""

    quantized_onnx: Path
    """The QDQ ONNX (`qairt.graph.qdq.quantize`), its weights beside it."""
    float_onnx: Path
    """Its source, weights beside it."""
    signature: GraphSignature
    """Inputs and outputs of the quantized part."""
    float_dlc: Path | None = None
    """From `Toolchain.convert`."""
    test_vectors: Path | None = None
    """Calibration inputs of the part, see `qairt.graph.part_vectors`."""
    act_bitwidth: int = 16
    """For activations without an encoding."""
    bias_bitwidth: int = 32


@dataclass(frozen=True)
class QuantizedGraph:
    """One graph of a context binary, before it is compiled."""

    onnx: Path
    """QDQ ONNX, its weights beside it."""
    signature: GraphSignature
    dlc: Path | None = None
    """From `Toolchain.quantize`."""


BINARY_SUFFIX = ".serialized.bin"
"""How the names of context binaries end."""


@dataclass(frozen=True)
class BinarySpec:
    """The context binary to compile."""

    file_name: str
    """`weight_sharing_model_2_of_4.serialized.bin`."""
    soc: Soc
    """Its `vtcm_mb` is what graphs may use, which can be less than the chip has."""
    optimization_level: int = 3
    """1 … 3: how hard the compiler optimises the finished graph."""
    extended_udma: bool = False
    """64-bit DMA; the chip must have it (`qairt.toolchain.soc.EXTENDED_UDMA_SINCE`)."""


@dataclass(frozen=True)
class LinkResult:
    """A context binary and the files that belong to it."""

    binary: Path
    graph_names: tuple[str, ...]
    """In the order of the graphs that were linked."""
    wrappers: dict[str, Path]
    """`EPContext` ONNX by graph name: the file that ONNX Runtime loads on the device."""
    configs: list[Path]
    """The HTP configuration it was compiled with."""
    inspection: Inspection
    """Read back from the binary."""


class Toolchain(Protocol):
    """Makes DLCs and context binaries.

    Every method raises `ToolchainNotAvailable` when the toolchain is missing, and `ToolchainError` when it failed or
    its artifact does not match the request.
    """

    def convert(self, onnx: Path, dlc: Path, *, encodings: Path | None = None) -> None:
        """Write a float ONNX as a float DLC.

        Args:
            onnx: float32, static shapes; its weights beside it.
            dlc: the file to write.
            encodings: AIMET's file, version 1.0.0; only `sdk` uses it.
        """
        ...

    def quantize(self, part: PartToQuantize, dlc: Path) -> None:
        """Write a part as a quantized DLC."""
        ...

    def link(
        self, graphs: Sequence[QuantizedGraph], out_dir: Path, binary: BinarySpec, *, progress: Progress = ...
    ) -> LinkResult:
        """Compile graphs for a chip into one context binary that stores shared weights once.

        Args:
            graphs: quantized graphs, in the order of `LinkResult.graph_names`.
            out_dir: the folder for the binary, the wrappers (`NAME_ctx.onnx`) and the configuration.
            binary: file name, chip and optimisation level.
            progress: called with the fraction done and the current step.

        Raises:
            RecipeError: several graphs for a chip without weight sharing.
        """
        ...
