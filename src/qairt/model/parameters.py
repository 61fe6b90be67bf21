"""A decoder's weights in the layout of its graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qairt.amounts import count
from qairt.errors import ModelError
from qairt.model.config import DecoderConfig
from qairt.model.folding import factor_of, in_graph_form, output_order
from qairt.model.layout import (
    EMBEDDING,
    LM_HEAD,
    UNIT,
    graph_shape,
    has_lm_head,
    head_constants,
    head_names,
    layer_constants,
    layer_weight_shapes,
    stacked_axis,
    weight_shapes,
)
from qairt.model.names import name_of_expert, split_expert
from qairt.model.open_weights import open_weights
from qairt.model.weights import ALL, WeightSource

if TYPE_CHECKING:
    from qairt.model.rotation import Rotation

Floats = NDArray[np.float32]
Rotate = Callable[[Floats], Floats]
_TILE = 512
_BAND = 1 << 23
"""Values of a vocabulary's matrix that are read together (32 MB)."""


class Parameters:
    """Graph parameters: Hugging Face's names, with

    1. linears transposed to [in, out], so that a layer is `x @ weight`;
    2. the attention scale and all other constant factors folded into weights: see `qairt.model.folding`;
    3. `lm_head.weight` [hidden, vocab] as a separate parameter even if the model is tied;
    4. with a rotation, norms folded into the linears after them, and all weights next to the residual stream rotated:
       see `qairt.model.rotation`. Each weight is folded and rotated when it is read;
    5. constants of the model that are no stored weights, see `qairt.model.layout`.
    """

    def __init__(
        self,
        source: WeightSource,
        config: DecoderConfig,
        overlay: Mapping[str, Floats] | None = None,
        rotation: Rotation | None = None,
    ) -> None:
        """
        Args:
            source: the stored weights.
            config: their decoder.
            overlay: parameters that quantization changed, already in this layout and rotated. They replace the stored
                ones.
            rotation: what the stored weights are multiplied by.

        Raises:
            QuantizationError: the rotation is for a decoder of another width.
        """
        if rotation is not None:
            rotation.check(config)
        self.source = source
        self.config = config
        self.overlay = overlay
        self.rotation = rotation
        self._shapes = _graph_shapes(config)
        self._constants = head_constants(config)
        for layer in range(config.num_layers):
            self._constants |= layer_constants(config, layer)

    def changed_by(self, overlay: Mapping[str, Floats] | None) -> Parameters:
        """The same stored weights and rotation with another overlay."""
        return Parameters(self.source, self.config, overlay, self.rotation)

    def names(self) -> list[str]:
        """All parameters, in the order of the graph."""
        return list(self._shapes)

    def layer_names(self, layer: int) -> list[str]:
        """Those of one decoder layer."""
        return [*layer_weight_shapes(self.config, layer), *layer_constants(self.config, layer)]

    def names_beside_experts(self, layer: int) -> list[str]:
        """Those of one decoder layer but for its experts, which may be many times larger than all others."""
        return [name for name in self.layer_names(layer) if ".experts." not in name]

    def shape(self, name: str) -> tuple[int, ...]:
        name, expert = split_expert(name)
        shape = self._shapes[name]
        if expert is None or self.config.experts is None:
            return shape
        axis = stacked_axis(name) if len(shape) == 2 else 0
        return tuple(size // self.config.experts.count if at == axis else size for at, size in enumerate(shape))

    def read(self, name: str) -> Floats:
        """One parameter, C-contiguous float32; possibly a read-only view of a mapped file. That of a single expert is
        read under the name that `experts_of` gives.

        Raises:
            ModelError: it is missing, of another shape, or holds NaN or infinity; names the tensor.
        """
        values = self.overlay.get(name) if self.overlay is not None else None
        if values is None:
            experts = self.experts_of(name)
            return self._laid_out(name) if not experts else self._joined(name, experts)
        self._check_shape(name, values.shape)
        return self._finite(name, values)

    def experts_of(self, name: str) -> list[str]:
        """The parameters of the single experts that the parameter `name` of all experts is made of; empty for any
        other."""
        experts = self.config.experts
        if experts is None or ".experts." not in name or name not in self._shapes:
            return []
        return [name_of_expert(name, expert) for expert in range(experts.count)]

    def vocabulary(self, name: str) -> Iterator[tuple[int, Floats]]:
        """`EMBEDDING` or `LM_HEAD`, which may be far larger than a layer, a slice of the vocabulary at a time.

        Yields:
            The first token's id, and [tokens, hidden] of the embedding or [hidden, tokens] of lm_head.

        Raises:
            ModelError: as `read`.
        """
        whole = self.overlay.get(name) if self.overlay is not None else None
        tokens = max(_BAND // self.config.hidden_size, 1)
        for start in range(0, self.config.vocab_size, tokens):
            part = slice(start, start + tokens)
            if whole is None:
                yield start, self._laid_out(name, part)
            else:
                self._check_shape(name, whole.shape)
                yield start, self._finite(name, whole[part] if name == EMBEDDING else whole[:, part])

    def folded_branch(self, module: str, a: Floats, b: Floats) -> tuple[Floats, Floats]:
        """A LoRA branch beside a linear, folded and rotated like its weight (rules 2 and 4).

        Args:
            module: the linear's name, without `.weight`.
            a, b: [in, R] and [R, out] of the stored model.
        """
        weight = module + ".weight"
        rotate_inputs, rotate_outputs = self._input_rotation(weight), self._output_rotation(weight)
        a = a if rotate_inputs is None else np.ascontiguousarray(rotate_inputs(np.ascontiguousarray(a.T)).T)
        order, factor = output_order(self.config, weight), factor_of(self.config, weight)
        b = b if order is None else b[:, order]
        b = b if rotate_outputs is None else rotate_outputs(np.ascontiguousarray(b))
        return a, b if factor == 1 else b * np.float32(factor)

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if shape != self.shape(name):
            raise ModelError(
                f"the parameter {name} has shape {list(shape)}, expected {list(self.shape(name))}",
                where=self._where(),
                remedy="use the config.json that was published with the weights",
            )

    def _finite(self, name: str, values: Floats) -> Floats:
        # NaN and infinity both show up in an extreme, and computing the extremes needs no array of booleans.
        if values.size and not (np.isfinite(values.min()) and np.isfinite(values.max())):
            bad = int(values.size - np.isfinite(values).sum())
            raise ModelError(
                f"the weight {name} holds {count(bad, 'NaN or infinite value')}",
                where=self._where(),
                remedy="download the model again, or use another checkpoint",
            )
        return values

    def _laid_out(self, name: str, rows: slice = ALL) -> Floats:
        """In graph layout; `rows` are those of the stored matrix."""
        if name in self._constants:
            return np.full(self._shapes[name], self._constants[name], np.float32)
        name, expert = split_expert(name)
        if expert is not None:
            rows = self._rows_of_expert(name, expert)
        if self.rotation is not None and self.rotation.is_folded(name):
            return np.ones(self._shapes[name], np.float32)
        values = self._stored(name, rows)
        if values.ndim == 3:
            values = values[0]
        if values.ndim == 2 and name != EMBEDDING:
            values = transposed(values, self._input_rotation(name))
        rotate = self._output_rotation(name)
        if rotate is not None:
            values = rotate(values) if values.ndim == 1 else _rotated(values, rotate)
        factor = factor_of(self.config, name)
        values = np.ascontiguousarray(values) if factor == 1 else values * np.float32(factor)
        return values if expert is not None or rows != ALL else values.reshape(self._shapes[name])

    def _joined(self, name: str, experts: Sequence[str]) -> Floats:
        """The parameter of all experts, read one expert at a time."""
        values = np.empty(self._shapes[name], np.float32)
        axis = values.ndim - 1 if values.ndim == 1 else stacked_axis(name)
        for part, expert in zip(np.split(values, len(experts), axis), experts, strict=True):
            part[...] = self.read(expert)
        return values

    def _rows_of_expert(self, name: str, expert: int) -> slice:
        """Where its weights begin and end on the first axis of the stored tensor of all experts."""
        assert self.config.experts is not None
        step = self.config.experts.width if name.endswith(".bias") else 1
        return slice(expert * step, (expert + 1) * step)

    def _stored(self, name: str, rows: slice = ALL) -> Floats:
        """As in the file, linears [out, in], but for what `qairt.model.folding` adds and reorders."""
        stored = EMBEDDING if name == LM_HEAD and self.config.tie_word_embeddings else name
        self._check_shape(name, graph_shape(self.config, name, self.source.shape(stored)))
        return in_graph_form(self.config, name, self._finite(name, self.source.read(stored, rows)))

    def _input_rotation(self, name: str) -> Rotate | None:
        """Folding and rotation of the rows [..., in] of a stored linear."""
        matrix = self.rotation.input_side(name) if self.rotation is not None else None
        if self.rotation is None or matrix is None:
            return None
        norm = self.rotation.folded_norm(name)
        if norm is None:
            return matrix.apply
        gamma = self._stored(norm)
        return lambda rows: matrix.apply(rows, gamma)

    def _output_rotation(self, name: str) -> Rotate | None:
        """Rotation of the rows [..., out] of a parameter."""
        matrix = self.rotation.output_side(name) if self.rotation is not None else None
        return matrix.apply if matrix is not None else None

    def _where(self) -> str:
        files = self.source.files()
        return str(files[0] if len(files) == 1 else files[0].parent)


def open_parameters(
    path: str | Path,
    config: DecoderConfig,
    overlay: Mapping[str, Floats] | None = None,
    rotation: Rotation | None = None,
) -> Parameters:
    """The parameters of the model at `path`; see `qairt.model.open_weights.open_weights` for errors."""
    return Parameters(open_weights(path), config, overlay, rotation)


def transposed(matrix: Floats, rotate: Rotate | None = None) -> Floats:
    """A contiguous transpose of [rows, columns], by tiles: row by row, every value would miss the cache.

    Args:
        rotate: applied to the rows [some, columns] first.
    """
    rows, columns = matrix.shape
    result = np.empty((columns, rows), np.float32)
    for row in range(0, rows, _TILE):
        band = matrix[row : row + _TILE]
        if rotate is not None:
            band = rotate(band)
        for column in range(0, columns, _TILE):
            result[column : column + _TILE, row : row + _TILE] = band[:, column : column + _TILE].T
    return result


def _rotated(matrix: Floats, rotate: Rotate) -> Floats:
    """All rows rotated, a band at a time."""
    result = np.empty(matrix.shape, np.float32)
    for row in range(0, len(matrix), _TILE):
        result[row : row + _TILE] = rotate(matrix[row : row + _TILE])
    return result


def _graph_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter; linears are [in, out]."""
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, config.hidden_size)}
    for layer in range(config.num_layers):
        for name, shape in layer_weight_shapes(config, layer).items():
            shapes[name] = graph_shape(config, name, shape)
        shapes |= dict.fromkeys(layer_constants(config, layer), (1,))
    head = {name: shape[::-1] for name, shape in weight_shapes(config).items() if name in head_names(config)}
    shapes |= head | {name: (config.embedding_size if name == UNIT else 1,) for name in head_constants(config)}
    if has_lm_head(config):
        shapes[LM_HEAD] = (config.hidden_size, config.vocab_size)
    return shapes
