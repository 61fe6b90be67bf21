"""The inputs and outputs of a graph, as a runtime sees them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from qairt.files import read_regular


class TensorSpec(BaseModel):
    """One input or output of a compiled part. Quantized tensors have `scale` and `offset` (AIMET convention)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dtype: str
    """numpy name: int32, float32, uint8, uint16."""
    shape: tuple[int, ...]
    scale: float | None = None
    offset: int | None = None


class GraphSignature(BaseModel):
    """A part's inputs and outputs, in order; written beside every quantized part as `signature.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """The graph's name, e.g. `ar1-cl512_2_of_4`."""
    ar: int
    cl: int
    part: int
    of: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def graph_name(self) -> str:
        """Its name in a context binary, where runtimes read AR, CL and part: `ar1_cl512_2_of_4`."""
        return f"ar{self.ar}_cl{self.cl}_{self.part}_of_{self.of}"

    @classmethod
    def read(cls, path: Path) -> GraphSignature:
        return TypeAdapter(cls).validate_json(read_regular(path))

    def write(self, path: Path) -> None:
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
