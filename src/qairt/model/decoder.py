"""The decoder, written once.

The same code computes it (`qairt.model.torch_ops`) and describes it (`qairt.graph.build`, ONNX); only the `Ops`
differ. So a tensor has one name everywhere, and an encoding measured in torch belongs to the ONNX tensor of that name.

Shapes, with `H` query heads in `KV` groups of `G = H / KV`, `D = head_dim`:

    hidden            [1, AR, hidden]
    query             [KV, G, AR, D]
    key, transposed   [KV, 1, D, AR]        past_key_in    [KV, 1, D, CL-AR]
    value             [KV, 1, AR, D]        past_value_in  [KV, 1, CL-AR, D]
    scores            [KV, G, AR, CL]
    gated inputs      [1, 1, AR, hidden]    past_conv_in   [1, 1, length - 1, hidden]

Heads come first, so that grouped-query attention is a broadcast and needs no repeated keys. Constant factors (of
scores, embeddings, residuals and logits) are folded into weights, see `qairt.model.folding`. A layer with windowed
attention sees min(CL-AR, window) past tokens.

Source: I/O names and shapes are those the QAIRT runtime expects of a split LLM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from qairt.model.config import DecoderConfig
from qairt.model.inputs import BAND, CONV, KEY_MASK, LOCAL, MASK, conv_columns
from qairt.model.layers.attention import attention
from qairt.model.layers.convolution import convolution
from qairt.model.layers.mlp import mlp
from qairt.model.layers.norms import norm
from qairt.model.layers.pooling import pooled
from qairt.model.names import CAP, hidden_name, residual_name
from qairt.model.ops import BlockOps, Ops

T = TypeVar("T")


def embed(ops: Ops[T], input_ids: T) -> T:
    """input_ids [1, AR] -> hidden_0 [1, AR, hidden]."""
    return ops.embedding(input_ids, "model.embed_tokens.weight", out=hidden_name(0))


def block(
    ops: BlockOps[T], config: DecoderConfig, layer: int, hidden: T, positions: Mapping[str, T], past: Sequence[T]
) -> tuple[T, tuple[T, ...]]:
    """One decoder layer.

    Args:
        hidden: [1, AR, hidden].
        positions: masks, cosines and sines by the names of `qairt.model.inputs`.
        past: what the layer keeps of past tokens, as `qairt.model.kept.kept_names` lists it: keys [KV, 1, D, CL-AR] and
            values [KV, 1, CL-AR, D]; nothing of an embedding model.

    Returns:
        hidden [1, AR, hidden], and the same of the new tokens: key [KV, 1, D, AR], value [KV, 1, AR, D].
    """
    w, t, places = f"model.layers.{layer}.", f"layers.{layer}.", config.norms

    def normed(x: T, module: str | None, out: str) -> T:
        return x if module is None else norm(ops, config, x, w + module, out=t + out)

    read = normed(hidden, places.before_attention, "attn.norm")
    kept: tuple[T, ...]
    if config.is_convolution(layer):
        attended, gated = convolution(ops, config, layer, read, positions, past[0])
        kept = (gated,)
    else:
        attended, key, value = attention(ops, config, layer, read, positions, past)
        kept = (key, value)
    attended = normed(attended, places.after_attention, "attn.post_norm")
    residual = ops.add(hidden, attended, out=residual_name(layer))
    if not config.parallel_blocks:
        read = normed(residual, places.before_mlp, "mlp.norm")
    product = normed(mlp(ops, config, layer, read), places.after_mlp, "mlp.post_norm")
    return ops.add(residual, product, out=hidden_name(layer + 1)), kept


def positions(ops: BlockOps[T], config: DecoderConfig, inputs: Mapping[str, T]) -> Mapping[str, T]:
    """What layers read of a graph's inputs: of an embedding model, masks that are made of them; of short convolutions,
    columns of `CONV`; see `qairt.model.inputs`."""
    if config.convolution is not None:
        columns = enumerate(conv_columns(config))
        return {**inputs, **{name: ops.slice(inputs[CONV], k, k + 1, axis=2, out=name) for k, name in columns}}
    if config.pooling is None:
        return inputs
    keys = ops.tail(inputs[MASK], -1, axis=2, out=KEY_MASK)
    made = {**inputs, KEY_MASK: keys}
    return made | {MASK + LOCAL: ops.add(keys, inputs[BAND], out=MASK + LOCAL)} if BAND in inputs else made


def head(ops: BlockOps[T], config: DecoderConfig, hidden: T, positions: Mapping[str, T] | None = None) -> T:
    """hidden [1, AR, hidden] -> logits [1, AR, vocab], or an embedding model's vector [1, 1, values].

    Args:
        positions: as for `block`; only an embedding model reads them.
    """
    normed = final_norm(ops, config, hidden)
    if config.pooling is None:
        return logits(ops, config, normed)
    assert positions is not None
    return pooled(ops, config, normed, positions[KEY_MASK])


def final_norm(ops: BlockOps[T], config: DecoderConfig, hidden: T) -> T:
    """The first half of `head`: hidden [1, AR, hidden] -> the same."""
    return norm(ops, config, hidden, "model.norm", out="head.norm")


def logits(ops: BlockOps[T], config: DecoderConfig, normed: T) -> T:
    """The second half of `head`: normed [1, AR, hidden] -> [1, AR, vocab]."""
    if config.logits_cap is None:
        return ops.linear(normed, "lm_head.weight", None, out="logits")
    scores = ops.linear(normed, "lm_head.weight", None, out="head.scores")  # divided by the cap in its weights
    return ops.scale(ops.tanh(scores, out="head.tanh"), f"lm_head.{CAP}", out="logits")
