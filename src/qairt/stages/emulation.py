"""The check inside `generate_context_binary`: what the compiler makes of a part's graphs, emulated on this machine.

1. `auto` emulates one piece of every form (`qairt.graph.pieces`), with logits of at most `WIDEST` columns. A form that
   was right is not emulated again: not in another part, and not in a later run with the same compiler and chip.
   Of a layer whose attention or MLP was right in another layer, only the other half is emulated: with mixed precision
   there are more forms of layers than of their halves.
2. `all` emulates every graph of every part as a whole too.
3. The binary itself cannot be emulated: on x86 a binary with two graphs, or with 4-bit blocks, ends the vendor's
   process. Each graph is compiled once more, in the process that emulates it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from qairt import keys
from qairt.files import link_or_copy, make_folder, read_regular, write_atomic
from qairt.model.parts import Part
from qairt.runtime.emulator_cost import emulation_seconds, piece_seconds

if TYPE_CHECKING:
    from qairt.engine.stage import Progress
    from qairt.graph.pieces import Piece
    from qairt.toolchain.base import QuantizedGraph
    from qairt.toolchain.soc import Soc

Emulate = Literal["auto", "all", "none"]

VERSION = 1
"""Raised by hand when the check itself changes, so that forms are emulated again."""
WIDEST = 4096
"""Columns of logits that `auto` emulates."""


class EmulatedPiece(BaseModel):
    """A piece that was emulated, and how close it was to ONNX Runtime's CPU; stored for others of its form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    graph: str
    """`ar128-cl512_2_of_4`."""
    piece: str
    """`hidden_0 to hidden_1`, or `whole`."""
    db: dict[str, float]
    """By output; a difference of one step counts as none."""

    def describe(self) -> str:
        return f"{', '.join(f'{name} {db:.0f} dB' for name, db in self.db.items())} ({self.graph}, {self.piece})"


@dataclass(frozen=True)
class EmulationCheck:
    """Emulates the graphs of one part.

    Args:
        soc: its `vtcm_mb` is what graphs may use.
        shared: folder of the forms that were right, for all parts and runs.
        scratch: folder for temporary files, on the disk of the graphs.
        extended_udma: as the binary is compiled.
    """

    soc: Soc
    optimization_level: int
    threads: int
    shared: Path
    scratch: Path
    extended_udma: bool = False

    def run(self, how: Emulate, graphs: Sequence[tuple[QuantizedGraph, Path | None]], progress: Progress) -> None:
        """
        Args:
            graphs: of the part, each with the test vectors of its float graph.
            progress: called with the fraction done and the current step.

        Raises:
            ToolchainError: an output differs from the CPU's, or from one run to the next; names graph, piece and
                outputs.
        """
        from qairt.graph.pieces import WHOLE

        for number, (graph, vectors) in enumerate(graphs):
            for piece in pieces_of(graph, how):
                what = f"{graph.signature.name}, {piece.name}"
                progress(number / len(graphs), f"emulating {what}")
                if piece.name == WHOLE and how == "all":
                    results = [self._emulated(graph, piece, vectors, widest=None)]
                else:
                    results = self._known_or_emulated(graph, piece, vectors)
                for found in results:
                    print(f"{what}: {found.describe()}")

    def _known_or_emulated(self, graph: QuantizedGraph, piece: Piece, vectors: Path | None) -> list[EmulatedPiece]:
        """The result of a piece of this form, or those of its halves; parts that are built at the same time emulate it
        once."""
        path = self._result_file(piece)
        with FileLock(path.with_suffix(".lock")):
            known = _result(path)
            if known is not None:
                return [known]
            if any(_result(self._result_file(half)) for half in piece.halves):
                return [each for half in piece.halves for each in self._known_or_emulated(graph, half, vectors)]
            result = self._emulated(graph, piece, vectors, widest=WIDEST)
            for file in (path, *map(self._result_file, piece.halves)):
                write_atomic(file, result.model_dump_json(indent=1) + "\n")
            return [result]

    def _result_file(self, piece: Piece) -> Path:
        from qairt.toolchain.qnn import wheel

        compiled = [self.soc.name, self.soc.vtcm_mb, self.optimization_level, self.extended_udma, wheel.version()]
        make_folder(self.shared)
        return self.shared / f"{keys.digest([VERSION, piece.form, WIDEST, *compiled])[:32]}.json"

    def _emulated(
        self, graph: QuantizedGraph, piece: Piece, vectors: Path | None, *, widest: int | None
    ) -> EmulatedPiece:
        from qairt.graph import files, part_vectors
        from qairt.graph.pieces import cut_piece
        from qairt.runtime.emulation import emulate_twice
        from qairt.runtime.parts import PartGraph
        from qairt.toolchain.onnx_contents import onnx_contents

        known = part_vectors.read(vectors).inputs if vectors is not None else {}
        with tempfile.TemporaryDirectory(dir=self.scratch, prefix="emulated-") as folder:
            onnx = Path(folder) / graph.onnx.name
            for name in files.external_files(graph.onnx):
                link_or_copy(graph.onnx.parent / name, onnx.with_name(name))
            files.save(cut_piece(graph.onnx, piece, widest=widest), onnx)
            contents = onnx_contents(onnx)
            signature = graph.signature.model_copy(update={"inputs": contents.inputs, "outputs": contents.outputs})
            emulated = emulate_twice(
                PartGraph(onnx, signature),
                known,
                soc=self.soc,
                optimization_level=self.optimization_level,
                extended_udma=self.extended_udma,
                threads=self.threads,
            )
        emulated.require_right(f"{signature.name}, {piece.name}")
        return EmulatedPiece(graph=signature.name, piece=piece.name, db=dict(emulated.db))


def _result(file: Path) -> EmulatedPiece | None:
    try:
        return EmulatedPiece.model_validate_json(read_regular(file))
    except (OSError, ValidationError):
        return None


def pieces_of(graph: QuantizedGraph, how: Emulate) -> list[Piece]:
    """What is emulated of a graph."""
    from qairt.graph.pieces import WHOLE, pieces, whole

    if how == "none":
        return []
    found = pieces(graph.onnx)
    return [*found, *whole(graph.onnx)] if how == "all" and found[0].name != WHOLE else found


def estimated_seconds(how: Emulate, part: Part, ars: Sequence[int], *, is_first: bool) -> float:
    """What a part's check takes.

    Args:
        ars: of its graphs.
        is_first: no part before it has layers; with `auto`, the others find its forms emulated.
    """
    if how == "none":
        return 0.0
    layers = part.layers
    weights = part.weight_bytes / 4
    pieces = int(is_first) + int(part.has_head) if layers else 1  # the head, at its width here, is about a layer
    seconds = pieces * sum(piece_seconds(weights / max(layers, 1) if layers else 0, ar) for ar in ars)
    if how == "all" and layers:
        seconds += emulation_seconds(weights, ars, [*ars, *ars])
    return seconds
