"""A model's weights, read from disk one tensor at a time in float32."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qairt.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


ALL = slice(None)


class WeightSource(Protocol):
    """Stored weights under Hugging Face's names and in its layout: linears are [out, in]."""

    def names(self) -> list[str]:
        """Every stored weight."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Without reading it."""

    def read(self, name: str, rows: slice = ALL) -> NDArray[np.float32]:
        """The values; possibly a read-only view of the mapped file.

        Args:
            rows: only these of the first axis; no others are read.

        Raises:
            ModelError: no such weight, or stored in an unsupported type.
        """

    def files(self) -> list[Path]:
        """The files that hold them."""


_WRAPPED = {
    "_orig_mod.": "saved from a model that torch.compile wrapped; save the inner model, or remove the prefix",
    "module.": "saved from a model wrapped for parallel training; save the inner model, or remove the prefix",
    "base_model.model.": "saved from a model that peft wrapped; merge the adapter first (model.merge_and_unload())",
    "language_model.": "a part of a multimodal model; save its language model alone",
    "model.language_model.": "a part of a multimodal model; save its language model alone",
}
"""What other programs put before the names of a model's weights -> why, and what helps."""


def missing_weight(name: str, where: Path, stored: Collection[str] = ()) -> ModelError:
    """The error for a weight that the configuration requires and the files lack.

    Args:
        stored: names of the weights they hold.
    """
    for other in stored:
        prefix = other.removesuffix(name.removeprefix("model."))
        if other != prefix and prefix not in ("", "model."):
            known = next((why for known, why in _WRAPPED.items() if prefix.startswith(known)), "")
            cause, _, remedy = known.partition("; ")
            return ModelError(
                f"the weight {name} is missing, but {other} is stored" + (f": {cause}" if cause else ""),
                where=str(where),
                remedy=remedy or f"remove {prefix!r} from the names of the weights",
            )
    return ModelError(
        f"the weight {name} is missing",
        where=str(where),
        remedy="download the whole model, with the config.json that was published with it",
    )


def require_apart(tensors: Iterable[tuple[int, int, str]], where: Path) -> None:
    """
    Args:
        tensors: offset, bytes and name of each tensor in a file.

    Raises:
        ModelError: two of them share bytes.
    """
    end, last = 0, ""
    for offset, nbytes, name in sorted(tensors):
        if nbytes and offset < end:
            raise ModelError(
                f"the tensors {last} and {name} overlap", where=str(where), remedy="download or copy it again"
            )
        if offset + nbytes > end:
            end, last = offset + nbytes, name


_SHOWN = 3


def listed(names: Sequence[str]) -> str:
    """The first of some names, and how many there are more."""
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else shown
