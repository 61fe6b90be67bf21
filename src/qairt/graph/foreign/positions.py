"""What masks and positions of an external graph become: the inputs that our runtimes fill.

1. A mask, given or computed from a 2-D one, becomes the additive input `attention_mask` [1, 1, AR, CL]. It must be
   causal.
2. Cosines and sines, computed from positions, become the inputs `position_ids_cos` and `position_ids_sin`
   [1, 1, AR, D / 2]. The halves of a head must be rotated together, as Hugging Face does.
3. What a tensor is, is found by computing it: for an empty cache and the positions 0 ...
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qairt.errors import GraphError
from qairt.graph.foreign.dims import Lengths
from qairt.graph.foreign.fold import computed
from qairt.graph.foreign.heads import HeadsRewriter
from qairt.graph.foreign.tidy import new_node
from qairt.graph.shapes import node_text, static
from qairt.model.names import past_names

HIDDEN = -10.0
"""A mask value below this hides a token: Softmax gives it less than e^-10 of the weight."""


@dataclass
class Rewritten:
    """What the rewriting of a graph means for its encodings."""

    like: dict[str, list[str]] = field(default_factory=dict)
    """New tensors, and the tensors whose encoding they have: the first that has one."""
    scaled: dict[str, tuple[str, float]] = field(default_factory=dict)
    """New tensors that are another one times a number."""
    masked: dict[str, str] = field(default_factory=dict)
    """The scores with the mask, and the scores before it."""
    angles: dict[str, str] = field(default_factory=dict)
    """The graph's own tensor of each of `position_ids_cos` and `position_ids_sin`."""


class Positions:
    """The masks and angles of one graph."""

    def __init__(self, model: ir.Model, lengths: Lengths, names: dict[str, str], result: Rewritten) -> None:
        self.model = model
        self.graph = model.graph
        self.lengths = lengths
        self.names = names
        self.result = result
        self.inputs = {str(value.name): value for value in model.graph.inputs}

    def replace(self, rewriter: HeadsRewriter) -> None:
        """
        Raises:
            GraphError: the mask is not causal, or what heads are combined with is no cosine or sine; names the node.
        """
        masks = {node.inputs[place] for node, place in rewriter.masks}
        angles = {node.inputs[place] for node, place in rewriter.rotary}
        wanted = [value for value in (*masks, *angles) if value is not None]
        wanted.sort(key=lambda value: str(value.name))
        found = dict(zip(wanted, computed(self.model, wanted, self._feeds()), strict=True))
        dim = static(next(v for v in self.graph.inputs if v.name == past_names(0)[1]))[3]
        self._replace_masks(rewriter, found)
        if rewriter.rotary:
            self._replace_angles(rewriter, found, dim)
        keep = {"input_ids", "attention_mask", "position_ids_cos", "position_ids_sin"}
        for value in list(self.graph.inputs):
            if value.name not in keep and not str(value.name).startswith("past_"):
                self.graph.inputs.remove(value)

    def _feeds(self) -> dict[str, NDArray[Any]]:
        """An empty cache: its tokens are hidden, and the new ones have the positions 0 …"""
        ar, past = self.lengths.ar, self.lengths.cl - self.lengths.ar
        feeds: dict[str, NDArray[Any]] = {}
        for name, value in self.inputs.items():
            dtype = (value.dtype or ir.DataType.FLOAT).numpy()
            shape = static(value)
            if name == "attention_mask" and len(shape) == 2:
                feeds[name] = np.array([[0] * past + [1] * ar], dtype)
            elif name == "attention_mask":
                hidden = np.ones((ar, past + ar), bool)
                hidden[:, past:] = ~np.tril(np.ones((ar, ar), bool))
                feeds[name] = (~hidden if dtype == np.bool_ else np.where(hidden, -100, 0)).astype(dtype).reshape(shape)
            elif name == "position_ids":
                feeds[name] = np.arange(ar, dtype=dtype).reshape(shape)
            elif name.startswith("position_ids_"):
                half = np.arange(ar)[:, None] / 100.0 ** (np.arange(shape[-1]) % max(shape[-1] // 2, 1) / shape[-1])
                feeds[name] = (np.cos(half) if name.endswith("cos") else np.sin(half)).astype(dtype).reshape(shape)
        return feeds

    def _replace_masks(self, rewriter: HeadsRewriter, found: dict[ir.Value, NDArray[Any]]) -> None:
        ar, cl = self.lengths.ar, self.lengths.cl
        mask = self._input("attention_mask", [1, 1, ar, cl])
        seen = np.hstack([np.zeros((ar, cl - ar), bool), np.tril(np.ones((ar, ar), bool))])
        names: list[str] = []
        for node, place in rewriter.masks:
            value = node.inputs[place]
            assert value is not None
            given = np.broadcast_to(found[value], (*found[value].shape[:-2], ar, cl)).reshape(-1, ar, cl)
            shown = given if given.dtype == np.bool_ else given > HIDDEN
            if node.op_type == "Where" and not self._hides(node):
                shown = ~shown
            if not all(np.array_equal(rows, seen) for rows in shown):
                raise GraphError(
                    "its mask is not the causal one: each token sees itself, the tokens before it and the cache",
                    where=node_text(node),
                    remedy="other masks, such as sliding windows, are not supported",
                )
            names.append(str(value.name))
            if node.op_type == "Where":
                node, place = self._add_in_place_of(node, mask)
            else:
                node.replace_input_with(place, mask)
            scores = node.inputs[1 - place]
            assert scores is not None
            self.result.masked[str(node.outputs[0].name)] = str(scores.name)
        if not names:
            raise GraphError(
                "its attention has no mask",
                where=str(self.graph.name),
                remedy="export it with an attention_mask: generation pads the cache on the left",
            )
        self.result.like["attention_mask"] = [self.names.get("attention_mask", "attention_mask"), *names]

    def _hides(self, where: ir.Node) -> bool:
        """Whether a Where keeps the scores where its condition is true."""
        kept = where.inputs[1]
        return kept is not None and kept.const_value is None and kept not in self.inputs.values()

    def _add_in_place_of(self, where: ir.Node, mask: ir.Value) -> tuple[ir.Node, int]:
        """A Where that hides scores becomes the Add of the mask: the node, and where it reads the mask."""
        scores = where.inputs[1] if self._hides(where) else where.inputs[2]
        out = where.outputs[0]
        added = new_node(self.graph, where, "Add", [scores, mask], f"{out.name}.added")
        out.replace_all_uses_with(added)
        added.name, out.name = out.name, f"{out.name}.before"
        self.graph.remove(where, safe=True)
        node = added.producer()
        assert node is not None
        return node, 1

    def _replace_angles(self, rewriter: HeadsRewriter, found: dict[ir.Value, NDArray[Any]], dim: int) -> None:
        ar = self.lengths.ar
        names: dict[str, list[str]] = {"cos": [], "sin": []}
        halves = {kind: self._input(f"position_ids_{kind}", [1, 1, ar, dim // 2]) for kind in names}
        whole: dict[str, ir.Value] = {}
        for node, place in rewriter.rotary:
            value = node.inputs[place]
            assert value is not None
            kind = self._kind(node, value, found[value].reshape(-1, found[value].shape[-1]), dim)
            names[kind].append(str(value.name))
            self.result.angles[f"position_ids_{kind}"] = str(value.name).removesuffix(".given")
            if found[value].shape[-1] == dim // 2:
                node.replace_input_with(place, halves[kind])
                continue
            if kind not in whole:
                first = next(iter(self.graph))
                whole[kind] = new_node(
                    self.graph, first, "Concat", [halves[kind]] * 2, f"position_ids_{kind}.both", {"axis": -1}
                )
                self.result.like[str(whole[kind].name)] = names[kind]
            node.replace_input_with(place, whole[kind])
        for kind, found_names in names.items():
            self.result.like[f"position_ids_{kind}"] = found_names

    def _kind(self, node: ir.Node, value: ir.Value, rows: NDArray[Any], dim: int) -> str:
        """Whether the rows [AR, D or D / 2] are cosines or sines."""
        if rows.shape[0] != self.lengths.ar or rows.shape[1] not in (dim, dim // 2):
            raise GraphError(
                f"it combines heads with {value.name} {list(static(value))}, which depends on positions",
                where=node_text(node),
                remedy=f"only cosines and sines [1, 1, AR, {dim}] of rotary embeddings are supported",
            )
        if rows.shape[1] == dim and not np.allclose(rows[:, : dim // 2], rows[:, dim // 2 :], atol=1e-6):
            raise GraphError(
                f"{value.name} does not rotate the halves of a head together",
                where=node_text(node),
                remedy="interleaved and partial rotary embeddings are not supported",
            )
        if np.allclose(rows[0], 0, atol=1e-6):
            return "sin"
        if np.allclose(rows[0], rows[0, 0], atol=1e-6) and rows[0, 0] > 0:
            return "cos"
        raise GraphError(
            f"{value.name} is neither the cosine nor the sine of positions that begin at 0",
            where=node_text(node),
            remedy="export it with position_ids as an input, or with a 2-D attention_mask that they are counted from",
        )

    def _input(self, name: str, shape: list[int]) -> ir.Value:
        """The input of our export; one of the same name is replaced."""
        for value in self.graph.inputs:
            if value.name == name:
                value.name = f"{name}.given"
        made = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))
        self.graph.inputs.append(made)
        return made
