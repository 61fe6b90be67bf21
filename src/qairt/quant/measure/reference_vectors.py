"""The float model's tensors for some real text, at every place where a model can be split.

They test a part of a split model alone: its hidden state, past keys and values, and expected outputs, for any AR and
CL, without running the parts before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from qairt.errors import QuantizationError
from qairt.model.call_inputs import call_inputs
from qairt.model.config import DecoderConfig
from qairt.model.kept import kept_names, kept_slots
from qairt.model.names import POOLED, branch_layer, is_branch_input, token_axis

if TYPE_CHECKING:
    from qairt.model.parts import Part

TOKENS = 256
"""The most tokens kept."""
LOGIT_VALUES = 1 << 22
"""The most logits kept (16 MB), those of the last positions."""

Array = NDArray[np.generic]


@dataclass(frozen=True)
class ReferenceVectors:
    """T tokens of one sequence from position 0, and the float model's tensors for them."""

    tensors: Mapping[str, Array]
    """`input_ids` int32 [T]; `hidden_{k}` [1, T, hidden] for k in 0 … layers; `past_key_{i}_out` [KV, 1, D, T] and
    `past_value_{i}_out` [KV, 1, T, D]; `logits` [1, n, vocab] of the last n positions; the inputs of LoRA branches, if
    they were not zero. Float32. Of an embedding model there are no keys and values, and `pooled_output` [1, 1, values]
    instead of logits."""

    @property
    def length(self) -> int:
        """T."""
        return len(self.ids)

    @property
    def ids(self) -> NDArray[np.int32]:
        """Token ids [T]."""
        return np.asarray(self.tensors["input_ids"], np.int32)

    def values(self, name: str) -> NDArray[np.float32]:
        """One of the other tensors."""
        return np.asarray(self.tensors[name], np.float32)

    def save(self, path: Path) -> None:
        """Write one safetensors file; always the same bytes for the same values."""
        from safetensors.numpy import save_file

        partial = path.with_name(path.name + ".partial")
        save_file({name: np.ascontiguousarray(self.tensors[name]) for name in sorted(self.tensors)}, partial)
        partial.chmod(0o644)  # safetensors makes its files readable by their owner only
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> ReferenceVectors:
        """Read what `save` wrote, each tensor on demand.

        Raises:
            QuantizationError: it is not such a file.
        """
        return cls(_StoredTensors(path))


def part_inputs(
    vectors: ReferenceVectors, config: DecoderConfig, part: Part, *, ar: int, cl: int, mask_floor: float
) -> dict[str, Array]:
    """A part's inputs for the last `ar` of the first `min(T, cl)` tokens, with the tokens before them in the cache.

        slot      0 …                    CL-AR-1 | CL-AR …              CL-1
        holds     padding, oldest … newest past  | (padding,) new tokens

    Padding is on the left: of the past if the text is shorter than the context, of the new tokens if it is shorter than
    AR. It is zero (token 0, position 0) and masked.

    Args:
        part: which layers, and whether it starts with the embedding.
        ar, cl: tokens at a time and context, ar < cl.
        mask_floor: the mask's value for masked slots.

    Returns:
        The part's inputs by name; shapes as `qairt.graph.build.build_decoder`.
    """
    new, past = _counts(vectors, ar, cl)
    inputs: dict[str, Array] = {}
    if part.has_embedding:
        inputs["input_ids"] = _left_padded(vectors.tensors["input_ids"][None, past : past + new], ar, 1)
    else:
        name = part.enters
        inputs[name] = _left_padded(vectors.tensors[name][:, past : past + new], ar, 1)
    if not part.attentions:
        return inputs | _branches_of(vectors, part)
    inputs |= call_inputs(config, ar=ar, cl=cl, past=past, new=new, floor=mask_floor, length=vectors.length)
    for layer in part.attentions:
        slots = kept_slots(config, layer, ar, cl)
        for name_in, name_out in kept_names(config, layer):
            axis = token_axis(name_in)
            seen = vectors.tensors[name_out].take(np.arange(max(past - slots, 0), past), axis)
            inputs[name_in] = _left_padded(seen, slots, axis)
    return inputs | _branches_of(vectors, part)


def _branches_of(vectors: ReferenceVectors, part: Part) -> dict[str, Array]:
    layers = range(part.first_layer, max(part.last_layer, part.attentions.stop))
    names = [name for name in vectors.tensors if is_branch_input(name)]
    return {name: vectors.tensors[name] for name in names if branch_layer(name) in (None, *layers)}


def expected_outputs(
    vectors: ReferenceVectors, config: DecoderConfig, part: Part, *, ar: int, cl: int
) -> dict[str, Array]:
    """The outputs of the part's float graph for `part_inputs`, at their last positions.

    Returns:
        Output name -> values of the last n <= AR tokens: n is smaller than AR if the text is shorter, and for logits if
        not all were kept. A last part has no logits here if none were kept for these tokens (CL < T); an embedding
        model's part has no outputs then, which depend on the whole text.
    """
    new, past = _counts(vectors, ar, cl)
    outputs: dict[str, Array] = {}
    if config.pooling is not None:
        name = POOLED if part.has_head else part.leaves
        return {name: vectors.tensors[name]} if new == vectors.length else {}
    if part.has_head:
        kept = vectors.tensors["logits"]
        stop = past + new - (vectors.length - kept.shape[1])
        if stop > 0:
            outputs["logits"] = kept[:, max(stop - new, 0) : stop]
    else:
        name = part.leaves
        outputs[name] = vectors.tensors[name][:, past : past + new]
    for layer in part.attentions:
        for _, name in kept_names(config, layer):
            outputs[name] = vectors.tensors[name].take(np.arange(past, past + new), token_axis(name))
    return outputs


def _counts(vectors: ReferenceVectors, ar: int, cl: int) -> tuple[int, int]:
    """New tokens and past tokens."""
    length = min(vectors.length, cl)
    new = min(ar, length)
    return new, length - new


def _left_padded(values: Array, length: int, axis: int) -> Array:
    missing = [(length - values.shape[axis] if place == axis else 0, 0) for place in range(values.ndim)]
    return np.ascontiguousarray(np.pad(values, missing))


class _OpenFile(Protocol):
    """What `safetensors.safe_open` returns."""

    def keys(self) -> list[str]: ...

    def get_tensor(self, name: str) -> Array: ...


class _StoredTensors(Mapping[str, Array]):
    """The tensors of a safetensors file, read on demand."""

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            self._file: _OpenFile = safe_open(path, "numpy")
        except (OSError, SafetensorError) as error:
            raise QuantizationError(
                f"the reference vectors cannot be read: {error}", where=str(path), remedy="run quantization again"
            ) from error
        self._names = tuple(self._file.keys())  # type: ignore[no-untyped-call]

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        return self._file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
