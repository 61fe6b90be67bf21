"""Which layers go into which part of a split model. Plain arithmetic, without a graph."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Those of them that are the embedding's and lm_head's; only estimates ask, so they are in no key."""

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
    whole = embedding_bytes + sum(layer_bytes) + head_bytes
    if split_lm_head and num_splits < 3:
        raise RecipeError(
            f"num_splits {num_splits} is too small for split_lm_head: the embedding, layers and lm_head are parts of"
            " their own",
            where="stages.split_model.num_splits",
            remedy="use at least 3, or set split_lm_head to false",
        )
    if num_splits == 1:
        only = Part(
            index=1,
            of=1,
            first_layer=0,
            last_layer=layers,
            has_embedding=True,
            has_head=True,
            weight_bytes=whole,
            embedding_bytes=embedding_bytes,
            head_bytes=head_bytes,
        )
        return [only]
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
    parts = [
        Part(
            index=1,
            of=num_splits,
            first_layer=0,
            last_layer=0,
            has_embedding=True,
            has_head=False,
            weight_bytes=embedding_bytes,
            embedding_bytes=embedding_bytes,
        )
    ]
    for place, (first, last) in enumerate(pairwise(cuts)):
        is_last = place == num_splits - 2
        parts.append(
            Part(
                index=place + 2,
                of=num_splits,
                first_layer=first,
                last_layer=last,
                has_embedding=False,
                has_head=is_last,
                weight_bytes=sum(layer_bytes[first:last]) + (head_bytes if is_last else 0),
                head_bytes=head_bytes if is_last else 0,
            )
        )
    return parts


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
