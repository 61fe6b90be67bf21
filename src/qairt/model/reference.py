"""The decoder in float32 on torch: the reference for all measurements.

It runs `qairt.model.decoder`, so its tensors have the names of the ONNX graph's. Weights are held for one block at a
time, so that a model larger than memory can be calibrated; `keep_weights=True` holds all, for generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.model import decoder
from qairt.model.config import DecoderConfig
from qairt.model.inputs import BAND, KEY_MASK, conv_columns, layer_masks
from qairt.model.kept import fixed_slots, kept_names, kept_shape
from qairt.model.masks import conv_places, mask_of
from qairt.model.names import is_key_or_value, token_axis
from qairt.model.parameters import Parameters
from qairt.model.rope import rotary_inputs
from qairt.model.torch_ops import Tap, TorchOps

MASKED = -1e9
"""What the float reference adds to a masked score. (A quantized graph has a smaller floor.)"""


class Reference:
    """A decoder that runs block by block, or as a whole with a growing KV cache.

    `embed`, `run_block` and `head` keep only the weights of the block they ran last: run all chunks of text through one
    block before the next. `prefill`, `decode` and `reset` share one cache.
    """

    def __init__(
        self,
        parameters: Parameters,
        keep_weights: bool = False,
        branches: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        """
        Args:
            branches: values of the LoRA branches' inputs, by name, see `qairt.model.lora.shape`.
        """
        self.parameters = parameters
        self.config = parameters.config
        self.keep_weights = keep_weights
        self._ops = TorchOps(parameters, branches=branches)
        self._ops.keep_experts = keep_weights
        self._block = ""
        self._past: list[tuple[Tensor, ...]] = []
        self.reset()

    # Block by block

    @torch.inference_mode()
    def embed(self, ids: Sequence[int] | NDArray[np.integer] | Tensor, tap: Tap | None = None) -> Tensor:
        """Token ids [AR] or [1, AR] -> hidden_0 [1, AR, hidden]."""
        tokens = torch.as_tensor(np.asarray(ids, dtype=np.int64)).reshape(1, -1)
        return decoder.embed(self._prepared("embed", tap), tokens)

    @torch.inference_mode()
    def run_block(
        self,
        layer: int,
        hidden: Tensor,
        positions: Mapping[str, Tensor],
        past: Sequence[Tensor],
        tap: Tap | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One decoder layer; as `qairt.model.decoder.block`."""
        return decoder.block(self._prepared(f"layer {layer}", tap), self.config, layer, hidden, positions, past)

    @torch.inference_mode()
    def head(self, hidden: Tensor, tap: Tap | None = None) -> Tensor:
        """hidden [1, AR, hidden] -> logits [1, AR, vocab], or an embedding model's vector [1, 1, values]."""
        unpadded = {KEY_MASK: torch.zeros(1, 1, 1, hidden.shape[1])}
        return decoder.head(self._prepared("head", tap), self.config, hidden, unpadded)

    def release(self) -> None:
        """Release all weights."""
        self._ops.release()

    # Inputs of a block

    def positions(self, count: int, past: int = 0) -> dict[str, Tensor]:
        """Those of `count` tokens after `past` others, see `sequence_positions`."""
        return sequence_positions(self.config, count, past)

    def empty_past(self, layer: int, length: int = 0) -> tuple[Tensor, ...]:
        """See the module's `empty_past`."""
        return empty_past(self.config, layer, length)

    # As a whole

    def logits(self, ids: Sequence[int] | NDArray[np.integer]) -> Tensor:
        """Logits [AR, vocab] of every position of one sequence without a past; does not use the cache."""
        hidden, _ = self._forward(ids, self._empty_pasts(), 0)
        return self.head(hidden)[0]

    def embedding(self, ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float32]:
        """The vector [values] that an embedding model makes of a text."""
        hidden, _ = self._forward(ids, self._empty_pasts(), 0)
        return np.asarray(self.head(hidden)[0, 0].numpy(), np.float32)

    def reset(self) -> None:
        """Empty the cache."""
        self._past = self._empty_pasts()
        self.length = 0
        """Tokens in the cache."""

    def prefill(self, ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float32]:
        """Append tokens to the sequence -> logits [vocab] after the last."""
        hidden, present = self._forward(ids, self._past, self.length)
        self._past = [
            grown_all(self.config, layer, past, fresh)
            for layer, (past, fresh) in enumerate(zip(self._past, present, strict=True))
        ]
        self.length += len(ids)
        return np.asarray(self.head(hidden[:, -1:])[0, 0].numpy(), np.float32)

    def decode(self, token: int) -> NDArray[np.float32]:
        """Append one token -> logits [vocab] after it."""
        return self.prefill([token])

    def _forward(
        self, ids: Sequence[int] | NDArray[np.integer], past: Sequence[tuple[Tensor, ...]], length: int
    ) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        positions = self.positions(len(ids), length)
        hidden = self.embed(ids)
        present = []
        for layer, cached in enumerate(past):
            hidden, kept = self.run_block(layer, hidden, positions, cached)
            present.append(kept)
        return hidden, present

    def _empty_pasts(self) -> list[tuple[Tensor, ...]]:
        return [self.empty_past(layer) for layer in range(self.config.num_layers)]

    def _prepared(self, block: str, tap: Tap | None) -> TorchOps:
        """The operations, without the weights of other blocks."""
        if block != self._block and not self.keep_weights:
            self._ops.release()
        self._block = block
        self._ops.tap = tap
        return self._ops


def causal_mask(count: int, past: int = 0, masked: float = MASKED, window: int | None = None) -> Tensor:
    """Additive mask [1, 1, count, past + count]: a token attends to the past, itself and the tokens before it.

    Args:
        window: only to the last so many of these, itself among them; None for all.
    """
    mask = torch.full((count, past + count), masked).triu(past + 1)
    if window is not None:
        mask += torch.full((count, past + count), masked).tril(past - window)
    return mask[None, None]


def _layer_mask(config: DecoderConfig, name: str, window: int | None, count: int, past: int, masked: float) -> Tensor:
    """The mask `name` of `qairt.model.inputs.layer_masks`, for a text without padding."""
    if not config.bidirectional:
        return causal_mask(count, past, masked, window)
    if window is None:
        return torch.zeros(1, 1, 1, count)
    return torch.from_numpy(mask_of(config, BAND, ar=count, cl=count, past=0, new=count, floor=masked))


def empty_past(config: DecoderConfig, layer: int, length: int = 0) -> tuple[Tensor, ...]:
    """What a layer keeps of `length` tokens that are all zeros: key [KV, 1, D, length], value [KV, 1, length, D]. A
    short convolution reads as many whatever the length."""
    fixed = fixed_slots(config, layer)
    tokens = length if fixed is None else fixed
    return tuple(torch.zeros(kept_shape(config, name, tokens)) for name, _ in kept_names(config, layer))


def grown(name: str, past: Tensor, fresh: Tensor) -> Tensor:
    """What a layer keeps as `name` after more tokens: that of all, or for a short convolution of as many as before."""
    if not past.shape[token_axis(name)]:
        return fresh
    joined = torch.cat((past, fresh), token_axis(name))
    return joined if is_key_or_value(name) else joined[:, :, -past.shape[2] :]


def grown_all(config: DecoderConfig, layer: int, past: Sequence[Tensor], fresh: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The same of all that a layer keeps."""
    names = (name for name, _ in kept_names(config, layer))
    return tuple(grown(*each) for each in zip(names, past, fresh, strict=True))


def sequence_positions(
    config: DecoderConfig,
    count: int,
    past: int = 0,
    device: torch.device | str = "cpu",
    *,
    length: int | None = None,
    floors: Mapping[str, float] | None = None,
) -> dict[str, Tensor]:
    """Masks, cosines and sines, and columns of `CONV`, of `count` tokens after `past` others, by the names of
    `qairt.model.inputs`.

    Args:
        length: the context length that the rotary embedding adapts to; past + count when None.
        floors: what each mask adds to a masked score; `MASKED` when None.
    """
    made = {
        name: _layer_mask(config, name, window, count, past, MASKED if floors is None else floors[name])
        for name, window in layer_masks(config).items()
    }
    if config.convolution is not None:
        places = torch.from_numpy(conv_places(config, ar=count, new=count))
        made |= {name: places[:, :, column : column + 1] for column, name in enumerate(conv_columns(config))}
    if config.pooling is not None:
        made[KEY_MASK] = torch.zeros(1, 1, 1, count)
    tables = rotary_inputs(config, np.arange(past, past + count), length=length)
    made |= {name: torch.from_numpy(table)[None, None] for name, table in tables.items()}
    return {name: value.to(device) for name, value in made.items()}
