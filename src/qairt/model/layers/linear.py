"""A linear with its LoRA branch."""

from __future__ import annotations

from typing import TypeVar

from qairt.model.ops import BlockOps

T = TypeVar("T")


def linear(ops: BlockOps[T], has_bias: bool, x: T, module: str, *, out: str) -> T:
    """A linear and, where it is adapted, its LoRA branch: x @ W (+ bias) + (x @ A) @ B; see `Branch`."""
    weight, bias, branch = module + ".weight", module + ".bias" if has_bias else None, ops.branch(module)
    if branch is None:
        return ops.linear(x, weight, bias, out=out)
    base = ops.linear(x, weight, bias, out=out + ".base")
    low = ops.matmul(x, branch.a, out=out + ".lora_a")
    if branch.switch is not None:
        strengths = ops.matmul(*branch.switch, out=out + ".lora_strengths")
        low = ops.mul(low, strengths, out=out + ".lora_switched")
    return ops.add(base, ops.matmul(low, branch.b, out=out + ".lora_b"), out=out)
