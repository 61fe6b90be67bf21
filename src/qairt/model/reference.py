"""The decoder in float32 on torch: what everything else is measured against.

It runs the lines of `qairt.model.decoder`, so its tensors have the names of the ONNX graph's. Weights are held for one
block at a time, so that a model larger than memory can be calibrated; `keep_weights=True` holds all, for generation.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.model import decoder
from qairt.model.config import DecoderConfig
from qairt.model.parameters import Parameters
from qairt.model.rope import rotary

Tap = Callable[[str, Tensor], None]
"""Called with the name and value of every tensor the decoder computes, in order."""

MASKED = -1e9
"""What the float reference adds to a score that must not count. (A quantized graph has a smaller floor.)"""


class TorchOps:
    """`qairt.model.decoder.Ops` on torch tensors."""

    def __init__(self, parameters: Parameters, tap: Tap | None = None, device: torch.device | str = "cpu") -> None:
        """
        Args:
            device: where weights are held and everything is computed.
        """
        self.parameters = parameters
        self.tap = tap
        self.device = torch.device(device)
        self._weights: dict[str, Tensor] = {}

    def weight(self, name: str) -> Tensor:
        """A parameter, read from disk unless it is held; do not write to it."""
        if name not in self._weights:
            self._weights[name] = shared(self.parameters.read(name)).to(self.device)
        return self._weights[name]

    def hold(self, names: Iterable[str]) -> None:
        """Let go of all weights and read these, before threads ask for them."""
        self.release()
        for name in names:
            self.weight(name)

    def release(self, names: Iterable[str] | None = None) -> None:
        """Let go of these weights, or of all."""
        for name in list(self._weights if names is None else names):
            self._weights.pop(name, None)

    def embedding(self, ids: Tensor, weight: str, *, out: str) -> Tensor:
        return self._named(out, self.weight(weight)[ids.long()])

    def linear(self, x: Tensor, weight: str, bias: str | None, *, out: str) -> Tensor:
        product = x @ self.weight(weight)
        if bias is None:
            return self._named(out, product)
        return self._named(out, self._named(out + ".matmul", product) + self.weight(bias))

    def rms_norm(self, x: Tensor, weight: str, epsilon: float, *, out: str) -> Tensor:
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)
        return self._named(out, x * scale * self.weight(weight))

    def add(self, a: Tensor, b: Tensor, *, out: str) -> Tensor:
        return self._named(out, a + b)

    def sub(self, a: Tensor, b: Tensor, *, out: str) -> Tensor:
        return self._named(out, a - b)

    def mul(self, a: Tensor, b: Tensor, *, out: str) -> Tensor:
        return self._named(out, a * b)

    def sigmoid(self, x: Tensor, *, out: str) -> Tensor:
        return self._named(out, torch.sigmoid(x))

    def softmax(self, x: Tensor, *, out: str) -> Tensor:
        return self._named(out, torch.softmax(x, -1))

    def matmul(self, a: Tensor, b: Tensor, *, out: str) -> Tensor:
        return self._named(out, a @ b)

    def slice(self, x: Tensor, start: int, end: int, *, axis: int, out: str) -> Tensor:
        return self._named(out, x.narrow(axis, start, end - start))

    def concat(self, parts: Sequence[Tensor], *, axis: int, out: str) -> Tensor:
        return self._named(out, torch.cat(list(parts), axis))

    def reshape(self, x: Tensor, shape: Sequence[int], *, out: str) -> Tensor:
        return self._named(out, x.reshape(tuple(shape)))

    def transpose(self, x: Tensor, order: Sequence[int], *, out: str) -> Tensor:
        return self._named(out, x.permute(tuple(order)))

    def _named(self, name: str, value: Tensor) -> Tensor:
        if self.tap is not None:
            self.tap(name, value)
        return value


class Reference:
    """A decoder that runs block by block, or as a whole with a KV cache that grows.

    `embed`, `run_block` and `head` keep nothing between calls but the weights of the block they ran last: run all
    chunks of text through one block before the next. `prefill`, `decode` and `reset` share one cache.
    """

    def __init__(self, parameters: Parameters, keep_weights: bool = False) -> None:
        self.parameters = parameters
        self.config = parameters.config
        self.keep_weights = keep_weights
        self._ops = TorchOps(parameters)
        self._block = ""
        self._past: list[tuple[Tensor, Tensor]] = []
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
        mask: Tensor,
        cos: Tensor,
        sin: Tensor,
        past_key: Tensor,
        past_value: Tensor,
        tap: Tap | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One decoder layer; shapes as `qairt.model.decoder.block`.

        Returns:
            hidden [1, AR, hidden], and the new tokens' key [KV, 1, D, AR] and value [KV, 1, AR, D].
        """
        ops = self._prepared(f"layer {layer}", tap)
        return decoder.block(ops, self.config, layer, hidden, mask, cos, sin, past_key, past_value)

    @torch.inference_mode()
    def head(self, hidden: Tensor, tap: Tap | None = None) -> Tensor:
        """hidden [1, AR, hidden] -> logits [1, AR, vocab]."""
        return decoder.head(self._prepared("head", tap), self.config, hidden)

    def release(self) -> None:
        """Let go of all weights."""
        self._ops.release()

    # Inputs of a block

    def rotary(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        """cos, sin [1, 1, count, D / 2] of positions start … start + count - 1."""
        cos, sin = rotary(self.config, np.arange(start, start + count))
        return torch.from_numpy(cos)[None, None], torch.from_numpy(sin)[None, None]

    def causal_mask(self, count: int, past: int = 0, masked: float = MASKED) -> Tensor:
        """See the function."""
        return causal_mask(count, past, masked)

    def empty_past(self, length: int = 0) -> tuple[Tensor, Tensor]:
        """See the function."""
        return empty_past(self.config, length)

    # As a whole

    def logits(self, ids: Sequence[int] | NDArray[np.integer]) -> Tensor:
        """Every position's logits [AR, vocab] for one sequence without a past; leaves the cache alone."""
        hidden, _ = self._forward(ids, [self.empty_past()] * self.config.num_layers)
        return self.head(hidden)[0]

    def reset(self) -> None:
        """Forget the tokens seen."""
        self._past = [self.empty_past()] * self.config.num_layers

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        return int(self._past[0][0].shape[-1])

    def prefill(self, ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float32]:
        """Take these tokens after those already seen -> logits [vocab] of what follows the last."""
        hidden, present = self._forward(ids, self._past)
        self._past = [
            (torch.cat((key, new_key), 3), torch.cat((value, new_value), 2))
            for (key, value), (new_key, new_value) in zip(self._past, present, strict=True)
        ]
        return np.asarray(self.head(hidden[:, -1:])[0, 0].numpy(), np.float32)

    def decode(self, token: int) -> NDArray[np.float32]:
        """Take one more token -> logits [vocab] of the next."""
        return self.prefill([token])

    def _forward(
        self, ids: Sequence[int] | NDArray[np.integer], past: Sequence[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        count, seen = len(ids), past[0][0].shape[-1]
        mask = self.causal_mask(count, seen)
        cos, sin = self.rotary(seen, count)
        hidden = self.embed(ids)
        present = []
        for layer, (past_key, past_value) in enumerate(past):
            hidden, key, value = self.run_block(layer, hidden, mask, cos, sin, past_key, past_value)
            present.append((key, value))
        return hidden, present

    def _prepared(self, block: str, tap: Tap | None) -> TorchOps:
        """The operations with room for this block's weights."""
        if block != self._block and not self.keep_weights:
            self._ops.release()
        self._block = block
        self._ops.tap = tap
        return self._ops


def causal_mask(count: int, past: int = 0, masked: float = MASKED) -> Tensor:
    """Additive mask [1, 1, count, past + count]: a token sees the past, itself and what came before it."""
    return torch.full((count, past + count), masked).triu(past + 1)[None, None]


def empty_past(config: DecoderConfig, length: int = 0) -> tuple[Tensor, Tensor]:
    """A layer's past of `length` zeros: key [KV, 1, D, length], value [KV, 1, length, D]."""
    kv, dim = config.num_kv_heads, config.head_dim
    return torch.zeros(kv, 1, dim, length), torch.zeros(kv, 1, length, dim)


def shared(values: NDArray[np.float32]) -> Tensor:
    """A tensor on the same memory; a mapped file is read-only, which torch warns of and nothing here violates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(values)
