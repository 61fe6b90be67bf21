"""Which layers go into which part of a split model. Plain arithmetic, without a graph.

A layer has two halves, attention (or what stands for it) and MLP. A part holds whole layers, unless there are more
parts than layers: then it may begin or end between the halves of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field

from qairt.errors import RecipeError
from qairt.model.names import attended_name, hidden_name


def _is_false(value: bool) -> bool:
    return not value


class Part(BaseModel):
    """One part of a split model: `index` of `of`, counted from 1; part 1 is the embedding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    of: int
    first_layer: int
    last_layer: int
    """Exclusive; equal to `first_layer` for the embedding alone and for lm_head alone."""
    starts_halfway: bool = Field(default=False, exclude_if=_is_false)
    """Without the attention of `first_layer`."""
    ends_halfway: bool = Field(default=False, exclude_if=_is_false)
    """With the attention of `last_layer`."""
    has_embedding: bool
    has_head: bool
    weight_bytes: int
    """Float32 bytes of its weights."""
    embedding_bytes: int = Field(default=0, exclude=True)
    head_bytes: int = Field(default=0, exclude=True)
    """How many of them belong to the embedding and to lm_head. Only estimates use these, so they are in no key."""

    @property
    def is_embedding(self) -> bool:
        """The embedding alone, which computes nothing."""
        return self.has_embedding and not self.has_head and not self.layers

    @property
    def attentions(self) -> range:
        """Layers whose attention is in the part, and so what they keep of past tokens."""
        return range(self.first_layer + self.starts_halfway, self.last_layer + self.ends_halfway)

    @property
    def layers(self) -> float:
        """How many; an attention or an MLP alone is half of one."""
        return (self.last_layer - self.first_layer + len(self.attentions)) / 2

    @property
    def enters(self) -> str:
        """The tensor that it reads from the part before it; not of the part with the embedding."""
        return attended_name(self.first_layer) if self.starts_halfway else hidden_name(self.first_layer)

    @property
    def leaves(self) -> str:
        """The tensor that it hands on; not of the part with the head."""
        return attended_name(self.last_layer) if self.ends_halfway else hidden_name(self.last_layer)

    @property
    def halved(self) -> list[int]:
        """Layers of which only one half is in the part; where it begins or ends."""
        return [self.first_layer] * self.starts_halfway + [self.last_layer] * self.ends_halfway

    def describe(self) -> str:
        pieces = ["embedding"] if self.has_embedding else []
        first = self.first_layer + self.starts_halfway
        if self.starts_halfway and self.last_layer > self.first_layer:
            pieces.append(f"MLP of layer {self.first_layer}")
        if self.last_layer > first:
            pieces.append(f"layers {first} to {self.last_layer - 1}")
        if self.ends_halfway:
            pieces.append(f"attention of layer {self.last_layer}")
        if self.has_head:
            pieces.append("lm_head")
        return f"{' + '.join(pieces)}, {self.weight_bytes / 2**20:,.0f} MiB float"


def computing_weights(parts: Iterable[Part]) -> int:
    """Weights of the parts but of one that is only the embedding, which computes nothing."""
    return sum(part.weight_bytes for part in parts if not part.is_embedding) // 4


def plan_split(
    *,
    embedding_bytes: int,
    layer_bytes: Sequence[int],
    head_bytes: int,
    num_splits: int,
    split_lm_head: bool = False,
    mlp_bytes: Sequence[int] = (),
) -> list[Part]:
    """Part 1 is the embedding; the layers are distributed over the others so that the largest part is minimal.

    Where there are more parts than layers, their halves are distributed.

    Args:
        embedding_bytes, layer_bytes, head_bytes: float32 bytes; the head (final norm and lm_head) is in the last part.
        num_splits: number of parts, including the embedding. 1 keeps the model whole.
        split_lm_head: the last part is the head alone.
        mlp_bytes: of each layer, what belongs to its MLP; empty where layers cannot be halved.

    Raises:
        RecipeError: more parts than layers or their halves, or too few for the head alone; gives the limit.
    """
    layers, alone = len(layer_bytes), 2 if split_lm_head else 1
    halved = bool(mlp_bytes) and num_splits - alone > layers
    sizes = _halves(layer_bytes, mlp_bytes) if halved else list(layer_bytes)
    per_layer = 2 if halved else 1
    _require_possible(num_splits, layers, per_layer, split_lm_head=split_lm_head)

    def part(index: int, first: int, last: int, *, embedding: bool = False, head: bool = False) -> Part:
        of_embedding, of_head = embedding_bytes if embedding else 0, head_bytes if head else 0
        return Part(
            index=index,
            of=num_splits,
            first_layer=first // per_layer,
            last_layer=last // per_layer,
            starts_halfway=first % per_layer == 1,
            ends_halfway=last % per_layer == 1,
            has_embedding=embedding,
            has_head=head,
            weight_bytes=of_embedding + sum(sizes[first:last]) + of_head,
            embedding_bytes=of_embedding,
            head_bytes=of_head,
        )

    if num_splits == 1:
        return [part(1, 0, layers, embedding=True, head=True)]
    cuts = _balanced_cuts(sizes, 0 if split_lm_head else head_bytes, num_splits - alone)
    if split_lm_head:
        cuts.append(len(sizes))
    others = enumerate(pairwise(cuts), start=2)
    return [
        part(1, 0, 0, embedding=True),
        *(part(index, first, last, head=index == num_splits) for index, (first, last) in others),
    ]


def _halves(layer_bytes: Sequence[int], mlp_bytes: Sequence[int]) -> list[int]:
    return [half for layer, mlp in zip(layer_bytes, mlp_bytes, strict=True) for half in (layer - mlp, mlp)]


def _require_possible(num_splits: int, layers: int, per_layer: int, *, split_lm_head: bool) -> None:
    where = "stages.split_model.num_splits"
    if split_lm_head and num_splits < 3:
        raise RecipeError(
            f"num_splits {num_splits} is too small for split_lm_head: the embedding, layers and lm_head are parts of"
            " their own",
            where=where,
            remedy="use at least 3, or set split_lm_head to false",
        )
    alone = 2 if split_lm_head else 1
    if num_splits - alone > per_layer * layers:
        ends = "part 1 is the embedding, the last is lm_head" if split_lm_head else "part 1 is the embedding"
        halves = ", each in two halves" if per_layer == 2 else ""
        raise RecipeError(
            f"num_splits {num_splits} is too large: {ends}, the rest share {layers} layers{halves}",
            where=where,
            remedy=f"use at most {per_layer * layers + alone}",
        )


def _balanced_cuts(layer_bytes: list[int], head_bytes: int, parts: int) -> list[int]:
    """Cuts 0 = c0 < c1 < … < c_parts = layers that minimize the largest part (and then balance the others)."""
    layers = len(layer_bytes)
    total = [0]
    for size in layer_bytes:
        total.append(total[-1] + size)

    def cost(first: int, last: int) -> int:
        return total[last] - total[first] + (head_bytes if last == layers else 0)

    # best[k][n]: (largest part, sum of squares) of the first n layers in k parts, and its last cut
    best: list[dict[int, tuple[int, int, int]]] = [{0: (0, 0, 0)}]
    for made in range(1, parts + 1):
        row: dict[int, tuple[int, int, int]] = {}
        for last in range(made, layers - (parts - made) + 1):
            row[last] = min(
                (max(largest, cost(first, last)), squares + cost(first, last) ** 2, first)
                for first, (largest, squares, _) in best[-1].items()
                if first < last
            )
        best.append(row)
    cuts = [layers]
    for made in range(parts, 0, -1):
        cuts.append(best[made][cuts[-1]][2])
    return cuts[::-1]
