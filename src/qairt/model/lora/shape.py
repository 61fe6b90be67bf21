"""The shape of a model's LoRA branches, and the values that a concurrency puts into them.

Every adapted linear `x @ W` becomes `x @ W + (x @ A) @ B`, in one of two forms:

    inputs        A [in, R] and B [R, out] are inputs of the graph: a concurrency's adapters lie side by side in R,
                  zeros after them; strength and alpha / rank are in B. The base is all zeros.
    hot switch    A and B of all adapters, side by side in R, are weights of the graph, and its input `lora_alpha`
                  [1, 1, adapters] holds the strength of each. The base is all zeros.

1. A and B are folded and rotated like the weight beside them, see `qairt.model.parameters`.
2. Inputs: each column of A is scaled to a largest value of 1, and its factor moves into the row of B. So one 8-bit grid
   fits the A of any adapter, and adapters of the same ranks and modules can replace each other in a finished graph.
   Hot switch: each row of B is, and its factor and alpha / rank move into the column of A, whose columns have grids of
   their own; so a small adapter loses nothing beside a large one.
3. R is even: of an odd one from 3 on, the HTP compiler reads wrong columns where an input B is cut by head (5 to 21 dB
   in place of 65 to 80, onnxruntime-qnn 2.7 emulated on x86).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from qairt.errors import ModelError
from qairt.model.lora.linears import linear_sizes
from qairt.model.names import ALPHA, branch_map, branch_names

if TYPE_CHECKING:
    from qairt.model.config import DecoderConfig
    from qairt.model.parameters import Parameters

Floats = NDArray[np.float32]


class AdaptedLinear(Protocol):
    """An adapter's part in one module."""

    @property
    def rank(self) -> int: ...

    @property
    def scaling(self) -> float:
        """alpha / rank, or alpha / sqrt(rank)."""

    @property
    def a(self) -> Floats:
        """[in, rank]"""

    @property
    def b(self) -> Floats:
        """[rank, out]"""


class Adapter(Protocol):
    """A LoRA adapter, its modules by their names in the decoder; see `qairt.model.lora.adapter`."""

    @property
    def name(self) -> str: ...

    @property
    def modules(self) -> Mapping[str, AdaptedLinear]: ...


class LoraShape(BaseModel):
    """What a graph is built for. It holds no values: where these are inputs, other adapters of the same shape fit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ranks: dict[str, int]
    """R by adapted module, in the decoder's order."""
    adapters: tuple[str, ...] = ()
    """With hot switch, the adapters in the order of `lora_alpha`; else none."""

    @property
    def is_switched(self) -> bool:
        """Whether A and B are weights of the graph, switched by `lora_alpha`."""
        return bool(self.adapters)

    def input_shapes(self, config: DecoderConfig) -> dict[str, tuple[int, ...]]:
        """The graph inputs of all branches, by name."""
        return {ALPHA: (1, 1, len(self.adapters))} if self.is_switched else self._matrices(config)

    def constant_shapes(self, config: DecoderConfig) -> dict[str, tuple[int, ...]]:
        """The weights of all branches, by name; none where A and B are inputs."""
        if not self.is_switched:
            return {}
        columns = {branch_map(module): (len(self.adapters), rank) for module, rank in self.ranks.items()}
        return self._matrices(config) | columns

    def _matrices(self, config: DecoderConfig) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        sizes = linear_sizes(config)
        for module, rank in self.ranks.items():
            a, b = branch_names(module)
            inputs, outputs = sizes[module]
            shapes |= {a: (inputs, rank), b: (rank, outputs)}
        return shapes

    @model_serializer(mode="wrap")
    def _without_defaults(self, plain: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Keys of graphs hold this text."""
        written: dict[str, object] = plain(self)
        return written if self.is_switched else {"ranks": written["ranks"]}


def shape_of(
    config: DecoderConfig,
    concurrencies: Iterable[Sequence[str]],
    ranks: Mapping[str, Mapping[str, int]],
    *,
    hot_switch: bool = False,
) -> LoraShape:
    """The shape that all concurrencies fit.

    Args:
        concurrencies: the adapters of each.
        ranks: by adapter, its rank in each of its modules.
        hot_switch: for graphs that hold the adapters themselves.

    Raises:
        ModelError: an adapter changes a linear that cannot have a branch; names both.
    """
    modules = linear_sizes(config)
    for name, held in ranks.items():
        other = next((module for module in held if module not in modules), None)
        if other is not None:
            raise ModelError(
                f"it adapts {other}, which is none of the linears of the decoder's layers",
                where=f"adapter {name}",
                remedy="train it on target_modules of the layers alone",
            )
    together = [list(adapters) for adapters in concurrencies]
    everyone = tuple(dict.fromkeys(name for adapters in together for name in adapters)) if hot_switch else ()
    together = [list(everyone)] if hot_switch else together
    largest = {
        module: max((sum(ranks[name].get(module, 0) for name in adapters) for adapters in together), default=0)
        for module in modules
    }
    return LoraShape(ranks={module: rank + rank % 2 for module, rank in largest.items() if rank}, adapters=everyone)


def base_values(shape: LoraShape, config: DecoderConfig) -> dict[str, Floats]:
    """The branch inputs of the base model: zeros, by name."""
    return {name: np.zeros(size, np.float32) for name, size in shape.input_shapes(config).items()}


def branch_values(
    shape: LoraShape, active: Sequence[tuple[Adapter, float]], parameters: Parameters
) -> dict[str, Floats]:
    """The branch inputs of a concurrency, by name.

    Args:
        active: its adapters, each with its strength.
        parameters: of the base, with its rotation.

    Raises:
        ModelError: an adapter does not fit the shape, or cannot be read; names it.
    """
    values = base_values(shape, parameters.config)
    if shape.is_switched:
        for adapter, strength in active:
            values[ALPHA][..., shape.adapters.index(adapter.name)] = strength
        return values
    _require_fit(shape, active)
    for module in shape.ranks:
        a, b = (values[name] for name in branch_names(module))
        first = 0
        for adapter, strength in active:
            adapted = adapter.modules.get(module)
            if adapted is None:
                continue
            rows = slice(first, first + adapted.rank)
            a[:, rows], b[rows] = normalised(*parameters.folded_branch(module, adapted.a, adapted.b))
            b[rows] *= np.float32(strength * adapted.scaling)
            first += adapted.rank
    return values


def constant_values(
    shape: LoraShape, adapters: Mapping[str, Adapter], parameters: Parameters
) -> Iterator[tuple[str, Floats]]:
    """The weights of all branches, name and value, one module at a time; none where A and B are inputs.

    Args:
        adapters: by name.
        parameters: of the base, with its rotation.

    Raises:
        ModelError: an adapter cannot be read.
    """
    if not shape.is_switched:
        return
    sizes = linear_sizes(parameters.config)
    for module, rank in shape.ranks.items():
        inputs, outputs = sizes[module]
        a, b = np.zeros((inputs, rank), np.float32), np.zeros((rank, outputs), np.float32)
        columns, first = np.zeros((len(shape.adapters), rank), np.float32), 0
        for place, name in enumerate(shape.adapters):
            adapted = adapters[name].modules.get(module)
            if adapted is None:
                continue
            rows = slice(first, first + adapted.rank)
            wide, low = parameters.folded_branch(module, adapted.a, adapted.b)
            b_rows, a_rows = normalised(low.T, wide.T)
            a[:, rows], b[rows] = a_rows.T * np.float32(adapted.scaling), b_rows.T
            columns[place, rows] = 1
            first += adapted.rank
        yield from zip((*branch_names(module), branch_map(module)), (a, b, columns), strict=True)


def normalised(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Rule 2: the same product with every column of `a` at most 1."""
    largest = np.abs(a).max(axis=0)
    factor = np.where(largest > 0, largest, 1).astype(np.float32)
    return a / factor, b * factor[:, None]


def _require_fit(shape: LoraShape, active: Sequence[tuple[Adapter, float]]) -> None:
    for adapter, _ in active:
        unknown = next((module for module in adapter.modules if module not in shape.ranks), None)
        if unknown is not None:
            raise _does_not_fit(adapter.name, f"they have no branch at {unknown}")
    for module, rank in shape.ranks.items():
        needed = sum(adapter.modules[module].rank for adapter, _ in active if module in adapter.modules)
        if needed > rank:
            names = " and ".join(adapter.name for adapter, _ in active)
            raise _does_not_fit(names, f"{module} has rank {rank}, they need {needed}")


def _does_not_fit(name: str, why: str) -> ModelError:
    return ModelError(
        f"the graphs were not built for this adapter: {why}",
        where=f"adapter {name}",
        remedy="qairt run builds them again",
    )
