"""Which layers go into which part of a split model. Plain arithmetic, without a graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field

from qairt.errors import RecipeError


class Part(BaseModel):
    """One part of a split model: `index` of `of`, counted from 1; part 1 is the embedding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    of: int
    first_layer: int
    last_layer: int
    """Exclusive; equal to `first_layer` for the embedding alone and for lm_head alone."""
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
        return self.has_embedding and not self.has_head and self.first_layer == self.last_layer

    def describe(self) -> str:
        pieces = ["embedding"] if self.has_embedding else []
        if self.last_layer > self.first_layer:
            pieces.append(f"layers {self.first_layer} to {self.last_layer - 1}")
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
) -> list[Part]:
    """Part 1 is the embedding; the layers are distributed over the others so that the largest part is minimal.

    Args:
        embedding_bytes, layer_bytes, head_bytes: float32 bytes; the head (final norm and lm_head) is in the last part.
        num_splits: number of parts, including the embedding. 1 keeps the model whole.
        split_lm_head: the last part is the head alone.

    Raises:
        RecipeError: more parts than layers, or too few for the head alone; gives the limit.
    """
    layers = len(layer_bytes)

    def part(index: int, first: int, last: int, *, embedding: bool = False, head: bool = False) -> Part:
        of_embedding, of_head = embedding_bytes if embedding else 0, head_bytes if head else 0
        return Part(
            index=index,
            of=num_splits,
            first_layer=first,
            last_layer=last,
            has_embedding=embedding,
            has_head=head,
            weight_bytes=of_embedding + sum(layer_bytes[first:last]) + of_head,
            embedding_bytes=of_embedding,
            head_bytes=of_head,
        )

    if split_lm_head and num_splits < 3:
        raise RecipeError(
            f"num_splits {num_splits} is too small for split_lm_head: the embedding, layers and lm_head are parts of"
            " their own",
            where="stages.split_model.num_splits",
            remedy="use at least 3, or set split_lm_head to false",
        )
    if num_splits == 1:
        return [part(1, 0, layers, embedding=True, head=True)]
    alone = 2 if split_lm_head else 1
    if num_splits - alone > layers:
        ends = "part 1 is the embedding, the last is lm_head" if split_lm_head else "part 1 is the embedding"
        raise RecipeError(
            f"num_splits {num_splits} is too large: {ends}, the rest share {layers} layers",
            where="stages.split_model.num_splits",
            remedy=f"use at most {layers + alone}",
        )
    cuts = _balanced_cuts(list(layer_bytes), 0 if split_lm_head else head_bytes, num_splits - alone)
    if split_lm_head:
        cuts.append(layers)
    others = enumerate(pairwise(cuts), start=2)
    return [
        part(1, 0, 0, embedding=True),
        *(part(index, first, last, head=index == num_splits) for index, (first, last) in others),
    ]


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
