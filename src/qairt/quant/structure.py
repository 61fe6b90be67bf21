"""Which tensors a decoder has and how their encodings depend on each other.

`qairt.model.decoder`, run with names in place of tensors, so that no tensor of the graph can be missing here.

1. Data movement (slice, concat, reshape, transpose) and an average keep their input's encoding: these tensors are
   *tied*.
2. Keys and values in the cache have a separate bitwidth and are tied to each other: the inputs, the outputs, and those
   attended to. What a short convolution keeps has that of other activations.
3. The range of softmax and sigmoid is 0 … 1, whatever their input.
4. Masked scores are scores plus the mask.
5. The inputs A and B of LoRA branches have 8 bits, whatever other activations have. Strengths of adapters, picked from
   `lora_alpha`, have its encoding.
6. Masked scores beside a sink have the range of both.
7. What a short convolution computes of past tokens is tied to the same of new ones: a text has no past when it is
   measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qairt.model import decoder
from qairt.model.config import DecoderConfig
from qairt.model.inputs import CONV, is_mask, layer_masks, masks, rotaries
from qairt.model.kept import kept_names
from qairt.model.lora.shape import LoraShape
from qairt.model.names import ALPHA, is_key_or_value
from qairt.model.ops import AttendsAtOnce, Branch, ExpertMlp


@dataclass(frozen=True)
class Linear:
    """One `x @ weight (+ bias)`."""

    weight: str
    bias: str | None
    input: str


class Structure(AttendsAtOnce[str]):
    """`qairt.model.decoder.Ops` on names."""

    def __init__(self, config: DecoderConfig, lora: LoraShape | None = None) -> None:
        inputs = lora.input_shapes(config) if lora is not None else {}
        constants = lora.constant_shapes(config) if lora is not None else {}
        self._branch_inputs = set(inputs)
        self._branches = {name: name for name in (*inputs, *constants)}
        self.adapted: set[str] = set()
        """What belongs to LoRA branches: their inputs and products."""
        self.tensors: list[str] = []
        """All float activations and inputs, in the order of the graph."""
        self.moved: set[str] = set()
        """Tensors that only move the data of a tied one: their range need not be measured."""
        self.unit: set[str] = set()
        """Outputs of softmax and sigmoid (rule 3), and the input `CONV`."""
        self.masked: dict[str, str] = {}
        """Masked scores -> scores (rule 4)."""
        self.joined: dict[str, tuple[str, str]] = {}
        """Masked scores beside a sink -> the two (rule 6)."""
        self.linears: list[Linear] = []
        self.norms: list[str] = []
        """Weights of RMSNorms, and taps of short convolutions: a factor for each channel."""
        self._tied_to: dict[str, str] = {}
        self.masks = masks(config) | layer_masks(config)
        """Mask -> the window of the layers that read it."""
        self.windows: dict[str, int | None] = {}
        """Scores -> their window."""
        self.rotaries = [name for names in rotaries(config) for name in names]
        read = {name: self._add(name) for name in (*masks(config), *self.rotaries)}
        if config.convolution is not None:
            self.unit.add(CONV)
            read[CONV] = self._add(CONV)
        positions = decoder.positions(self, config, read)
        if ALPHA in self._branches:
            self._add(ALPHA)
        hidden = decoder.embed(self, "input_ids")
        for layer in range(config.num_layers):
            kept = kept_names(config, layer)
            past = [self._add(name_in) for name_in, _ in kept]
            hidden, _ = decoder.block(self, config, layer, hidden, positions, past)
            for name_in, name_out in kept:
                self._tie(name_in, name_out)
            if config.is_convolution(layer):
                self._tie_past(f"layers.{layer}.conv.")
        decoder.head(self, config, hidden, positions)
        self.cached = {name for name in self.tensors if is_key_or_value(self.tied(name))}
        """Keys and values (rule 2)."""

    @property
    def measured(self) -> list[str]:
        """Tensors whose range follows from no rule: neither moved data, nor of softmax or sigmoid, nor masked."""
        derived = self.moved | self.unit | self.masked.keys() | self.joined.keys()
        return [name for name in self.tensors if name not in derived]

    def tied(self, name: str) -> str:
        """The representative of all tensors with the encoding of `name`."""
        while name in self._tied_to:
            name = self._tied_to[name]
        return name

    # Ops

    def embedding(self, ids: str, weight: str, *, out: str) -> str:
        return self._add(out)

    def linear(self, x: str, weight: str, bias: str | None, *, out: str) -> str:
        self.linears.append(Linear(weight, bias, x))
        if bias is not None:
            self._add(out + ".matmul")
        return self._add(out)

    def rms_norm(self, x: str, weight: str, epsilon: float, *, out: str) -> str:
        self.norms.append(weight)
        return self._add(out)

    def scale(self, x: str, weight: str, *, out: str) -> str:
        if ".conv.tap_" in weight:
            self.norms.append(weight)
        return self._add(out)

    def shift(self, x: str, weight: str, *, out: str) -> str:
        return self._add(out)

    def mean(self, x: str, *, out: str) -> str:
        return self._add(out)

    def average(self, x: str, weights: str, *, out: str) -> str:
        """No average lies outside of the range of what is averaged."""
        return self._move([self._move([x], f"{out}.weighted")], out)

    def add(self, a: str, b: str, *, out: str) -> str:
        if is_mask(b) and not is_mask(a):
            self.masked[out] = a
            self.windows[a] = self.masks[b]
        return self._add(out)

    def sub(self, a: str, b: str, *, out: str) -> str:
        return self._add(out)

    def mul(self, a: str, b: str, *, out: str) -> str:
        return self._add(out)

    def sigmoid(self, x: str, *, out: str) -> str:
        self.unit.add(out)
        return self._add(out)

    def tanh(self, x: str, *, out: str) -> str:
        return self._add(out)

    def relu(self, x: str, *, out: str) -> str:
        return self._add(out)

    def minimum(self, x: str, weight: str, *, out: str) -> str:
        return self._add(out)

    def maximum(self, x: str, weight: str, *, out: str) -> str:
        return self._add(out)

    def largest(self, x: str, count: int, size: int, chosen: str, others: str, *, out: str) -> str:
        self._move([x], f"{out}.values")
        return self._add(out)

    def experts(self, x: str, routing: tuple[str, str], count: int, mlp: ExpertMlp, down: str, *, out: str) -> str:
        gated: str = mlp(self, x, routing[1], "", count)
        return self.linear(gated, down, None, out=out)

    def gelu(self, x: str, *, by_tanh: bool, out: str) -> str:
        return self._add(out)

    def softmax(self, x: str, *, out: str) -> str:
        self.unit.add(out)
        return self._add(out)

    def softmax_beside(self, x: str, mask: str, sinks: str, *, out: str) -> str:
        self._move([mask], out + ".zeros")
        self.joined[self._add(out + ".joined")] = x, self._add(out + ".sink")
        self.unit.add(out + ".all")
        return self._move([self._add(out + ".all")], out)

    def matmul(self, a: str, b: str, *, out: str) -> str:
        if a == ALPHA:
            return self._move([a], out)
        if b in self._branches:
            self.adapted |= {b, out} & {out, *self._branch_inputs}
        return self._add(out)

    def slice(self, x: str, start: int, end: int, *, axis: int, out: str) -> str:
        return self._move([x], out)

    def pad(self, x: str, before: int, after: int, *, out: str) -> str:
        return self._move([x], out)

    def tail(self, x: str, start: int, *, axis: int, out: str) -> str:
        return self._move([x], out)

    def concat(self, parts: Sequence[str], *, axis: int, out: str) -> str:
        return self._move(parts, out)

    def reshape(self, x: str, shape: Sequence[int], *, out: str) -> str:
        return self._move([x], out)

    def transpose(self, x: str, order: Sequence[int], *, out: str) -> str:
        return self._move([x], out)

    def branch(self, module: str) -> Branch[str] | None:
        branch = Branch.among(self._branches, module)
        if branch is not None and branch.switch is None:
            self._add(branch.a)
            self._add(branch.b)
        return branch

    def _tie_past(self, convolution: str) -> None:
        """Rule 7."""
        for name in [name for name in self.tensors if name.startswith(convolution + "past")]:
            other = name.removesuffix(".placed") if name.endswith(".placed") else name.replace(".past.", ".new.")
            self._tie(other, name)

    def _add(self, name: str) -> str:
        self.tensors.append(name)
        return name

    def _move(self, sources: Sequence[str], out: str) -> str:
        self._add(out)
        if is_key_or_value(out) and not is_key_or_value(sources[0]):
            return out  # the cache has another bitwidth
        self.moved.add(out)
        for source in sources:
            self._tie(source, out)
        return out

    def _tie(self, one: str, other: str) -> None:
        first, second = self.tied(one), self.tied(other)
        if first != second:
            self._tied_to[second] = first
