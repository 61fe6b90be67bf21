"""The experts of a checkpoint as the decoder names them: one tensor [experts, out, in] for each linear of all experts.

1. Most store each expert's matrices apart (`mlp.experts.3.up_proj.weight`); Mixtral calls them w1, w2 and w3.
2. Some store all experts together, gate and up joined: `mlp.experts.gate_up_proj` [experts, 2 * width, hidden].
3. GPT-OSS stores these transposed, with gate and up in turns, and has biases; by the biases they are known.

Source: the modeling code and `conversion_mapping.py` of transformers 5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.model.names import name_of_expert, split_expert
from qairt.model.stored_tensor import StoredTensor
from qairt.model.weights import ALL, missing_weight

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    View = Callable[[NDArray[np.float32]], NDArray[np.float32]]

_MIXTRAL = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
_JOINED = re.compile(r"(.*\.mlp\.experts\.)gate_up_proj(\.weight)?")


def stack_experts(tensors: Mapping[str, StoredTensor], where: Path) -> dict[str, StoredTensor]:
    """All tensors, those of experts under the decoder's names.

    Raises:
        ModelError: an expert is missing.
    """
    found: dict[str, StoredTensor] = {}
    apart: dict[str, dict[int, StoredTensor]] = {}
    for name, tensor in tensors.items():
        of_all, expert = split_expert(name)
        for stored, ours in _MIXTRAL.items():
            of_all = of_all.replace(f".experts.{stored}.", f".experts.{ours}.")
        if expert is not None and len(tensor.shape) == 2:
            apart.setdefault(of_all, {})[expert] = tensor
        else:
            found[name] = tensor
    for name, experts in apart.items():
        for expert in range(max(experts) + 1):
            if expert not in experts:
                raise missing_weight(name_of_expert(name, expert), where)
        found[name] = _Apart([experts[expert] for expert in range(len(experts))])
    for name in [name for name in found if _JOINED.fullmatch(name)]:
        _separate(found, name)
    return found


def _separate(found: dict[str, StoredTensor], name: str) -> None:
    """Replace joined tensors by those of single linears."""
    matched = _JOINED.fullmatch(name)
    joined = found[name]
    if matched is None or len(joined.shape) != 3:
        return
    prefix, suffix = matched[1], matched[2] or ""
    down = found.pop(f"{prefix}down_proj{suffix}", None)
    bias, down_bias = (found.pop(f"{prefix}{linear}_bias", None) for linear in ("gate_up_proj", "down_proj"))
    del found[name]
    is_turned = bias is not None
    count, width = joined.shape[0], joined.shape[2 if is_turned else 1] // 2
    inputs = joined.shape[1 if is_turned else 2]
    for place, linear in enumerate(("gate_proj", "up_proj")):
        part = slice(place, None, 2) if is_turned else slice(place * width, (place + 1) * width)
        found[f"{prefix}{linear}.weight"] = _Viewed(
            joined, (count, width, inputs), _columns(part) if is_turned else _rows(part), 2
        )
        if bias is not None:
            found[f"{prefix}{linear}.bias"] = _Viewed(bias, (count * width,), _flat(part), 2, by_expert=False)
    if down is not None:
        turned = (down.shape[0], *down.shape[:0:-1])
        found[f"{prefix}down_proj.weight"] = _Viewed(down, turned, _columns(ALL), 1) if is_turned else down
    if down_bias is not None:
        name = f"{prefix.removesuffix('experts.')}expert_bias.weight"
        found[name] = _Viewed(down_bias, down_bias.shape[::-1], lambda values: values.T, 1, by_expert=False)


def _rows(part: slice) -> View:
    return lambda values: values[:, part]


def _columns(part: slice) -> View:
    return lambda values: values[..., part].swapaxes(1, 2)


def _flat(part: slice) -> View:
    return lambda values: values[:, part].reshape(-1)


@dataclass(frozen=True)
class _Apart:
    """Matrices of single experts."""

    experts: Sequence[StoredTensor]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.experts), *self.experts[0].shape

    @property
    def nbytes(self) -> int:
        return sum(expert.nbytes for expert in self.experts)

    @property
    def files(self) -> Sequence[Path]:
        return tuple({file: None for expert in self.experts for file in expert.files})

    def read(self, rows: slice = ALL) -> NDArray[np.float32]:
        import numpy as np

        return np.stack([expert.read() for expert in self.experts[rows]])


@dataclass(frozen=True)
class _Viewed:
    """A part of a tensor of all experts."""

    whole: StoredTensor
    shape: tuple[int, ...]
    view: View
    """Of the values of some experts, or of all."""
    parts: int
    """How many such parts it has."""
    by_expert: bool = True
    """Its first axis is that of the experts; else it is small and read whole."""

    @property
    def nbytes(self) -> int:
        return self.whole.nbytes // self.parts

    @property
    def files(self) -> Sequence[Path]:
        return self.whole.files

    def read(self, rows: slice = ALL) -> NDArray[np.float32]:
        return self.view(self.whole.read(rows)) if self.by_expert else self.view(self.whole.read())[rows]
