"""Forms of operators whose fate in the compiler is known: what is right, what is silently wrong, what is refused.

Measured with QNN 2.51 (onnxruntime-qnn 2.7). A new compiler that changes any of them fails `test_zoo.py`: then read the
row, change the decoder if a form may be used again or may not any more, and write down what is true now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from forms import Form, concatenated

HIDDEN = 64


@dataclass(frozen=True)
class Known:
    """A form, the numbers of rows it is tried with, and what the compiler of today makes of it."""

    make: Callable[[int], Form]
    rows: Sequence[int]
    expected: Literal["right", "coarse", "wrong", "refused"]
    """right: at least 50 dB. coarse: 35 to 50. wrong: less than 30, or other numbers in each run."""
    is_sample: bool = False
    """Part of the default tests."""


def _hidden(form: Form, rows: int, width: int = HIDDEN) -> str:
    return form.input("hidden_0", 1, rows, width)


def _rotated_norm(*, cosine_first: bool) -> Callable[[int], Form]:
    """Two query heads for one key head, normed, times a cosine that all heads share."""

    def make(rows: int) -> Form:
        form = Form()
        heads = form.input("hidden_0", 2, 2, rows, 16)
        angles = np.arange(rows)[:, None] * 1e4 ** -(np.arange(8) / 8)
        cos = form.input("position_ids_cos", values=np.cos(angles)[None, None])
        normed = form.node("RMSNormalization", heads, form.weight(16), axis=-1, epsilon=1e-6)
        halves = [
            form.node("Slice", normed, form.integers(start), form.integers(start + 8), form.integers(-1))
            for start in (0, 8)
        ]
        products = [form.node("Mul", *((cos, half) if cosine_first else (half, cos))) for half in halves]
        form.output(concatenated(form, products), "hidden_1")
        return form

    return make


def _layer_norm(*, bias: bool = True, from_parts: bool = False) -> Callable[[int], Form]:
    def make(rows: int) -> Form:
        form = Form()
        x = _hidden(form, rows)
        scale, shift = form.weight(HIDDEN), form.weight(HIDDEN)
        if from_parts:
            centred = form.node("Sub", x, form.node("ReduceMean", x, form.integers(-1), keepdims=1))
            normed = form.node("RMSNormalization", centred, scale, axis=-1, epsilon=1e-6)
            normed = form.node("Add", normed, shift)
        else:
            normed = form.node("LayerNormalization", x, scale, *([shift] if bias else []), axis=-1, epsilon=1e-6)
        form.output(form.node("MatMul", normed, form.weight(HIDDEN, 96)), "hidden_1")
        return form

    return make


def _dynamic_matmul(bits: int | None, *, capped: bool = False) -> Callable[[int], Form]:
    """Scores of queries and keys; the keys' grid has 16 asymmetric bits, or `bits` symmetric ones."""

    def make(rows: int) -> Form:
        form = Form()
        queries, keys = form.input("hidden_0", 1, 4, rows, 32), form.input("keys", 1, 4, 32, 48)
        if bits is not None:
            form.bits["keys"] = bits
        scores = form.node("MatMul", queries, keys)
        if capped:
            scores = form.node("Tanh", form.node("Mul", scores, form.scalar(0.5)))
            scores = form.node("Mul", scores, form.scalar(2.0))
        form.output(scores, "hidden_1")
        return form

    return make


def _activation(*ops: str) -> Callable[[int], Form]:
    def make(rows: int) -> Form:
        form = Form()
        x = value = _hidden(form, rows)
        for op in ops:
            if op == "gelu_tanh":
                value = form.node("Gelu", value, approximate="tanh")
            elif op == "doubled":
                value = form.node("Mul", value, form.scalar(2.0))
            elif op == "times itself":
                value = form.node("Mul", value, value)
            elif op == "times input":
                value = form.node("Mul", x, value)
            else:
                value = form.node(op, value)
        form.output(value, "hidden_1")
        return form

    return make


def _log(*, whole_grid: bool) -> Callable[[int], Form]:
    """The grid of a logarithm that holds the logarithm of its input's first step, or begins above it."""

    def make(rows: int) -> Form:
        form = Form()
        x = form.input("hidden_0", values=np.abs(form.random.normal(size=(1, rows, HIDDEN))) + 0.5)
        value = form.node("Log", x)
        if whole_grid:
            form.ranges[value] = (-12.0, 2.0)
        form.output(value, "hidden_1")
        return form

    return make


def _sinks(rows: int) -> Form:
    form = Form()
    scores, sink = form.input("hidden_0", 1, 4, rows, 32), form.input("sinks", 1, 4, rows, 1)
    probabilities = form.node("Softmax", concatenated(form, [scores, sink]), axis=-1)
    kept = form.node("Slice", probabilities, form.integers(0), form.integers(32), form.integers(-1))
    form.output(kept, "hidden_1")
    return form


def _interleaved(rows: int) -> Form:
    form = Form()
    heads = form.input("hidden_0", 1, 4, rows, 16)
    cos = form.input("position_ids_cos", values=np.cos(form.random.normal(size=(1, 1, rows, 8))))
    even, odd = (
        form.node("Slice", heads, form.integers(at), form.integers(16), form.integers(-1), form.integers(2))
        for at in (0, 1)
    )
    products = [form.node("Mul", cos, half) for half in (even, odd)]
    form.output(concatenated(form, products), "hidden_1")
    return form


def _short_convolution(rows: int) -> Form:
    form = Form()
    x = form.input("hidden_0", 1, HIDDEN, rows + 2)
    form.output(form.node("Conv", x, form.weight(HIDDEN, 1, 3), group=HIDDEN, kernel_shape=[3]), "hidden_1")
    return form


def _experts(*, one_hot: bool = False) -> Callable[[int], Form]:
    """Weights of the two best of four experts, by index."""

    def make(rows: int) -> Form:
        form = Form()
        x = _hidden(form, rows)
        scores = form.node("Softmax", form.node("MatMul", x, form.weight(HIDDEN, 4)), axis=-1)
        _, best = form.node("TopK", scores, form.integers(2), count=2, axis=-1)
        if one_hot:
            values = form.weight(values=np.asarray([0.0, 1.0]))
            chosen = form.node("OneHot", best, form.integers(4), values, axis=-1)
            gates = form.node("ReduceMax", chosen, form.integers(2), keepdims=0)
            form.output(form.node("Mul", scores, gates), "hidden_1")
            return form
        masks = []
        for place in range(2):
            index = form.node("Slice", best, form.integers(place), form.integers(place + 1), form.integers(-1))
            masks.append(form.node("Equal", index, form.integers(0, 1, 2, 3)))
        either = form.node("Or", *masks)
        form.output(form.node("Where", either, scores, form.scalar(0.0)), "hidden_1")
        return form

    return make


def _wide_experts(rows: int) -> Form:
    """All of 16 experts as one wide MLP; a token is given to four of them, by index. Clamped as GPT-OSS does."""
    form, count, chosen, width = Form(), 16, 4, 32
    x = _hidden(form, rows)
    logits = form.node("MatMul", x, form.weight(HIDDEN, count))
    _, best = form.node("TopK", logits, form.integers(chosen), count=2, axis=-1)
    either = None
    for place in range(chosen):
        index = form.node("Slice", best, form.integers(place), form.integers(place + 1), form.integers(-1))
        equal = form.node("Equal", index, form.integers(*range(count)))
        either = equal if either is None else form.node("Or", either, equal)
    raised = form.node("Add", logits, form.node("Where", either, form.scalar(30.0), form.scalar(0.0)))
    weights = form.node("Softmax", raised, axis=-1)
    form.ranges[weights] = (0.0, 1.0)
    gate, up = (form.node("MatMul", x, form.weight(HIDDEN, count * width)) for _ in range(2))
    gate = form.node("Min", gate, form.scalar(1.5))
    up = form.node("Max", form.node("Min", up, form.scalar(2.0)), form.scalar(-1.0))
    gate = form.node("Mul", gate, form.node("Sigmoid", gate))
    apart = form.node("Reshape", form.node("Mul", gate, up), form.integers(1, -1, count, width))
    weighted = form.node("Mul", apart, form.node("Reshape", weights, form.integers(1, -1, count, 1)))
    merged = form.node("Reshape", weighted, form.integers(1, -1, count * width))
    form.output(form.node("MatMul", merged, form.weight(count * width, HIDDEN)), "hidden_1")
    return form


FORMS: dict[str, Known] = {
    # silently wrong
    "RMSNormalization, Mul(x, cos)": Known(_rotated_norm(cosine_first=False), (8, 32), "wrong", is_sample=True),
    "LayerNormalization before MatMul, 16 rows": Known(_layer_norm(), (16,), "wrong", is_sample=True),
    "Tanh of a graph input, 16 rows": Known(_activation("Tanh", "doubled"), (16,), "wrong"),
    "Log without the input's first step": Known(_log(whole_grid=False), (8,), "wrong"),
    # nearly right
    "MatMul of two uint16": Known(_dynamic_matmul(None), (8,), "coarse"),
    # right
    "RMSNormalization, Mul(cos, x)": Known(_rotated_norm(cosine_first=True), (1, 8, 16, 32), "right", is_sample=True),
    "LayerNormalization before MatMul": Known(_layer_norm(), (1, 8, 128), "right"),
    "LayerNormalization from parts": Known(_layer_norm(from_parts=True), (1, 8, 16, 128), "right"),
    "MatMul of uint16 and int8": Known(_dynamic_matmul(8), (1, 8, 16), "right"),
    "Log with the input's first step": Known(_log(whole_grid=True), (8,), "right"),
    "SiLU": Known(_activation("Sigmoid", "times input"), (1, 16), "right"),
    "GELU tanh": Known(_activation("gelu_tanh"), (1, 16), "right"),
    "GELU": Known(_activation("Gelu"), (1, 16), "right"),
    "squared ReLU": Known(_activation("Relu", "times itself"), (1, 16), "right"),
    "Tanh of a graph input": Known(_activation("Tanh", "doubled"), (1, 8, 32), "right"),
    "soft-cap of scores": Known(_dynamic_matmul(8, capped=True), (1, 8, 16, 32, 128), "right"),
    "attention sinks": Known(_sinks, (1, 16), "right"),
    "interleaved rotary": Known(_interleaved, (1, 16), "right"),
    "short convolution": Known(_short_convolution, (1, 16), "right"),
    "experts as one wide MLP": Known(_wide_experts, (1, 8, 16, 128), "right"),
    "experts by index": Known(_experts(), (1, 16), "right"),
    # refused
    "OneHot": Known(_experts(one_hot=True), (8,), "refused"),
    "LayerNormalization without bias": Known(_layer_norm(bias=False), (8,), "refused"),
    "Erf": Known(_activation("Erf"), (8,), "refused", is_sample=True),
}
