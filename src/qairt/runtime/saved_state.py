"""The KV cache of tokens that were read, in a file: a prompt that begins with the same tokens need not read them again.

A SafeTensors file:

    tokens                int64 [tokens]
    past_key_0_in …       as in `KVCache`, without padding: [KV, 1, D, tokens]; the last tokens of a window
    past_value_0_in …     [KV, 1, tokens, D]
    metadata              what computed them (`Owner`), and the digest of all tensors

Tokens after a state equal those without it as far as one graph computes the same in calls of other lengths.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qairt.errors import GenerationError, unwritable
from qairt.files import read_regular, write_atomic
from qairt.runtime.stored import Array

FORMAT = "qairt state 1"
_TOKENS = "tokens"
_REMEDY = "write it again with --save-state, or leave --load-state out"


@dataclass(frozen=True)
class Owner:
    """What computed a state; only the same may go on from it."""

    graphs: str
    """A digest of the graphs' files."""
    concurrency: str
    """Of LoRA adapters."""
    branches: str
    """A digest of the values of their branches."""


@dataclass(frozen=True)
class SavedState:
    """Tokens and their keys and values."""

    tokens: Sequence[int]
    cache: Mapping[str, Array]

    def shared_with(self, ids: Sequence[int]) -> int:
        """How many tokens a prompt begins with; its last token is always read, for the logits."""
        most = min(len(self.tokens), len(ids) - 1)
        return next((place for place in range(most) if self.tokens[place] != ids[place]), most)


def write_state(path: Path, state: SavedState, owner: Owner) -> None:
    """Write the file whole or not at all.

    Raises:
        CacheError: it cannot be written.
    """
    from safetensors.numpy import save

    tensors = {_TOKENS: np.asarray(state.tokens, np.int64), **state.cache}
    stated = {"format": FORMAT, "digest": digest_of(tensors), **vars(owner)}
    try:
        write_atomic(path, save({name: np.ascontiguousarray(each) for name, each in tensors.items()}, metadata=stated))
    except OSError as error:
        raise unwritable(error, "the state", path, instead="give another path with --save-state") from error


def read_state(path: Path, owner: Owner) -> SavedState:
    """
    Args:
        owner: what will go on from the state.

    Raises:
        GenerationError: the file is missing, damaged, or of other graphs or another concurrency; says which.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        raw = read_regular(path)
        tensors, stated = load(raw), _metadata(raw)
    except OSError as error:
        raise _refused(path, f"it cannot be read: {error.strerror or error}") from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise _refused(path, "it is not a saved state") from error
    if stated.get("format") != FORMAT or _TOKENS not in tensors:
        raise _refused(path, "it is not a saved state of this version")
    if stated.get("digest") != digest_of(tensors):
        raise _refused(path, "it is damaged")
    if stated.get("graphs") != owner.graphs:
        raise _refused(path, "the state was computed with other graphs than this run's")
    if stated.get("concurrency") != owner.concurrency:
        theirs = f"concurrency {stated.get('concurrency')}, this is {owner.concurrency}"
        raise _refused(path, f"the state was computed with {theirs}")
    if stated.get("branches") != owner.branches:
        raise _refused(path, f"the state was computed with other values of concurrency {owner.concurrency}")
    tokens = tensors.pop(_TOKENS)
    return SavedState([int(token) for token in tokens], tensors)


def _metadata(raw: bytes) -> Mapping[str, str]:
    length = int.from_bytes(raw[:8], "little")
    found = json.loads(raw[8 : 8 + length]).get("__metadata__", {})
    return found if isinstance(found, dict) else {}


def digest_of(tensors: Mapping[str, Array]) -> str:
    """A digest of arrays by name."""
    made = hashlib.sha256()
    for name, each in sorted(tensors.items()):
        made.update(f"{name} {each.dtype} {each.shape}\n".encode())
        made.update(np.ascontiguousarray(each).tobytes())
    return made.hexdigest()


def _refused(path: Path, what: str) -> GenerationError:
    return GenerationError(what, where=str(path), remedy=_REMEDY)
