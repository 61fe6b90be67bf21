"""The decoder, written once.

The same code computes it (`qairt.model.reference`, torch) and describes it (`qairt.graph.build`, ONNX); only the `Ops`
differ. So a tensor has one name everywhere, and an encoding measured in torch belongs to the ONNX tensor of that name.

Shapes, with `H` query heads in `KV` groups of `G = H / KV`, `D = head_dim`:

    hidden            [1, AR, hidden]
    query             [KV, G, AR, D]
    key, transposed   [KV, 1, D, AR]        past_key_in    [KV, 1, D, CL-AR]
    value             [KV, 1, AR, D]        past_value_in  [KV, 1, CL-AR, D]
    scores            [KV, G, AR, CL]

Heads come first, so that grouped-query attention is a broadcast and needs no repeated keys. 1/sqrt(D) is folded into
`q_proj` (or `q_norm`), see `qairt.model.parameters`.

Source: I/O names and shapes are those the QAIRT runtime expects of a split LLM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from qairt.model.config import DecoderConfig

T = TypeVar("T")


class BlockOps(Protocol[T]):
    """The operations of a decoder layer and of the head. `out` names the result; every name is used once."""

    def linear(self, x: T, weight: str, bias: str | None, *, out: str) -> T:
        """x [..., in] @ weight [in, out] (+ bias [out]). With a bias, the product is named `{out}.matmul`."""

    def rms_norm(self, x: T, weight: str, epsilon: float, *, out: str) -> T:
        """x / sqrt(mean(x^2, last axis) + epsilon) * weight."""

    def add(self, a: T, b: T, *, out: str) -> T: ...

    def sub(self, a: T, b: T, *, out: str) -> T: ...

    def mul(self, a: T, b: T, *, out: str) -> T: ...

    def sigmoid(self, x: T, *, out: str) -> T: ...

    def softmax(self, x: T, *, out: str) -> T:
        """Over the last axis."""

    def matmul(self, a: T, b: T, *, out: str) -> T: ...

    def slice(self, x: T, start: int, end: int, *, axis: int, out: str) -> T: ...

    def concat(self, parts: Sequence[T], *, axis: int, out: str) -> T: ...

    def reshape(self, x: T, shape: Sequence[int], *, out: str) -> T:
        """`shape` holds at most one -1 and never the literal AR or CL."""

    def transpose(self, x: T, order: Sequence[int], *, out: str) -> T: ...

    def branch(self, module: str) -> tuple[T, T] | None:
        """A [in, R] and B [R, out] of the LoRA branch beside the linear `module`; None if it has none."""


class Ops(BlockOps[T], Protocol[T]):
    """The operations of a whole decoder."""

    def embedding(self, ids: T, weight: str, *, out: str) -> T:
        """Rows `ids` [1, AR] of `weight` [vocab, hidden] -> [1, AR, hidden]."""


@dataclass(frozen=True)
class Positions(Generic[T]):
    """Where the new tokens are in their sequence; the same for every layer."""

    mask: T
    """Additive, [1, 1, AR, CL]."""
    cos: T
    sin: T
    """Of the rotary angles, [1, 1, AR, D / 2]."""


def hidden_name(layer: int) -> str:
    """The input of decoder layer `layer`; `hidden_name(num_layers)` is the output of the last one."""
    return f"hidden_{layer}"


def past_names(layer: int) -> tuple[str, str]:
    return f"past_key_{layer}_in", f"past_value_{layer}_in"


def present_names(layer: int) -> tuple[str, str]:
    return f"past_key_{layer}_out", f"past_value_{layer}_out"


def branch_names(module: str) -> tuple[str, str]:
    """The graph inputs A and B of the LoRA branch beside a linear: `lora_0_q_proj_a`, `lora_0_q_proj_b`."""
    layer, _, linear = module.removeprefix("model.layers.").partition(".")
    name = f"lora_{layer}_{linear.rpartition('.')[2]}"
    return f"{name}_a", f"{name}_b"


def is_branch_input(name: str) -> bool:
    """Whether a graph input belongs to a LoRA branch."""
    return name.startswith("lora_")


def branch_layer(name: str) -> int:
    """The decoder layer of a branch input."""
    return int(name.split("_")[1])


def embed(ops: Ops[T], input_ids: T) -> T:
    """input_ids [1, AR] -> hidden_0 [1, AR, hidden]."""
    return ops.embedding(input_ids, "model.embed_tokens.weight", out=hidden_name(0))


def block(
    ops: BlockOps[T], config: DecoderConfig, layer: int, hidden: T, positions: Positions[T], past: tuple[T, T]
) -> tuple[T, T, T]:
    """One decoder layer.

    Args:
        hidden: [1, AR, hidden].
        past: keys [KV, 1, D, CL-AR] and values [KV, 1, CL-AR, D].

    Returns:
        hidden [1, AR, hidden], key [KV, 1, D, AR], value [KV, 1, AR, D].
    """
    residual, key, value = _attention(ops, config, layer, hidden, positions, past)
    product = _gated(ops, config, layer, residual)
    down = _linear(ops, config.mlp_bias, product, f"model.layers.{layer}.mlp.down_proj", out=f"layers.{layer}.mlp.down")
    return ops.add(residual, down, out=hidden_name(layer + 1)), key, value


def head(ops: BlockOps[T], config: DecoderConfig, hidden: T) -> T:
    """hidden [1, AR, hidden] -> logits [1, AR, vocab]."""
    return logits(ops, final_norm(ops, config, hidden))


def final_norm(ops: BlockOps[T], config: DecoderConfig, hidden: T) -> T:
    """The first half of `head`: hidden [1, AR, hidden] -> the same."""
    return ops.rms_norm(hidden, "model.norm.weight", config.rms_norm_eps, out="head.norm")


def logits(ops: BlockOps[T], normed: T) -> T:
    """The second half of `head`: normed [1, AR, hidden] -> [1, AR, vocab]."""
    return ops.linear(normed, "lm_head.weight", None, out="logits")


def _attention(
    ops: BlockOps[T], config: DecoderConfig, layer: int, hidden: T, positions: Positions[T], past: tuple[T, T]
) -> tuple[T, T, T]:
    # No name holds what no later line needs: calibration computes each line for many chunks at once.
    kv, groups, dim = config.num_kv_heads, config.num_heads // config.num_kv_heads, config.head_dim
    w = f"model.layers.{layer}."
    t = f"layers.{layer}.attn."
    key_out, value_out = present_names(layer)

    normed = ops.rms_norm(hidden, w + "input_layernorm.weight", config.rms_norm_eps, out=t + "norm")
    q = _linear(ops, config.qkv_bias, normed, w + "self_attn.q_proj", out=t + "q")
    k = _linear(ops, config.qkv_bias, normed, w + "self_attn.k_proj", out=t + "k")
    v = _linear(ops, config.qkv_bias, normed, w + "self_attn.v_proj", out=t + "v")
    q = _heads_first(ops, q, kv, groups, dim, out=t + "q")
    k = _heads_first(ops, k, kv, 1, dim, out=t + "k")
    if config.qk_norm:
        q = ops.rms_norm(q, w + "self_attn.q_norm.weight", config.rms_norm_eps, out=t + "q.norm")
        k = ops.rms_norm(k, w + "self_attn.k_norm.weight", config.rms_norm_eps, out=t + "k.norm")
    q = _rotate(ops, q, positions, dim, out=t + "q")
    k = _rotate(ops, k, positions, dim, out=t + "k")
    key = ops.transpose(k, (0, 1, 3, 2), out=key_out)
    value = ops.transpose(ops.reshape(v, (-1, kv, 1, dim), out=t + "v.heads"), (1, 2, 0, 3), out=value_out)

    keys = ops.concat((past[0], key), axis=3, out=t + "keys")
    values = ops.concat((past[1], value), axis=2, out=t + "values")
    masked = ops.add(ops.matmul(q, keys, out=t + "scores"), positions.mask, out=t + "masked")
    context = ops.matmul(ops.softmax(masked, out=t + "probs"), values, out=t + "context")
    context = ops.transpose(context, (2, 0, 1, 3), out=t + "context.tokens")
    context = ops.reshape(context, (1, -1, kv * groups * dim), out=t + "context.merged")
    attended = _linear(ops, config.output_bias, context, w + "self_attn.o_proj", out=t + "o")
    return ops.add(hidden, attended, out=t + "residual"), key, value


def _gated(ops: BlockOps[T], config: DecoderConfig, layer: int, residual: T) -> T:
    """The input of the MLP's last linear [1, AR, intermediate]."""
    w = f"model.layers.{layer}."
    t = f"layers.{layer}.mlp."
    normed = ops.rms_norm(residual, w + "post_attention_layernorm.weight", config.rms_norm_eps, out=t + "norm")
    gate = _linear(ops, config.mlp_bias, normed, w + "mlp.gate_proj", out=t + "gate")
    up = _linear(ops, config.mlp_bias, normed, w + "mlp.up_proj", out=t + "up")
    silu = ops.mul(gate, ops.sigmoid(gate, out=t + "sigmoid"), out=t + "silu")
    return ops.mul(silu, up, out=t + "product")


def _linear(ops: BlockOps[T], has_bias: bool, x: T, module: str, *, out: str) -> T:
    """A linear and, where it is adapted, its LoRA branch: x @ W (+ bias) + (x @ A) @ B."""
    weight, bias, branch = module + ".weight", module + ".bias" if has_bias else None, ops.branch(module)
    if branch is None:
        return ops.linear(x, weight, bias, out=out)
    base = ops.linear(x, weight, bias, out=out + ".base")
    low = ops.matmul(x, branch[0], out=out + ".lora_a")
    return ops.add(base, ops.matmul(low, branch[1], out=out + ".lora_b"), out=out)


def _heads_first(ops: BlockOps[T], x: T, kv: int, groups: int, dim: int, *, out: str) -> T:
    """[1, AR, kv * groups * dim] -> [kv, groups, AR, dim]."""
    split = ops.reshape(x, (-1, kv, groups, dim), out=out + ".heads")
    return ops.transpose(split, (1, 2, 0, 3), out=out + ".heads_first")


def _rotate(ops: BlockOps[T], x: T, positions: Positions[T], dim: int, *, out: str) -> T:
    """Rotary embedding over the halves of the last axis: [x1 cos - x2 sin, x2 cos + x1 sin].

    cos and sin are the first operands: the HTP compiler (QNN 2.51) fuses an RMSNorm with a product whose second operand
    broadcasts over heads, and that fusion computes garbage for several rows.
    """
    cos, sin = positions.cos, positions.sin
    x1 = ops.slice(x, 0, dim // 2, axis=-1, out=out + ".first")
    x2 = ops.slice(x, dim // 2, dim, axis=-1, out=out + ".second")
    first = ops.sub(
        ops.mul(cos, x1, out=out + ".first_cos"), ops.mul(sin, x2, out=out + ".second_sin"), out=out + ".rotated_first"
    )
    second = ops.add(
        ops.mul(cos, x2, out=out + ".second_cos"), ops.mul(sin, x1, out=out + ".first_sin"), out=out + ".rotated_second"
    )
    return ops.concat((first, second), axis=-1, out=out + ".rotated")
