"""How a model's matrices are stored: in full, or already quantized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from qairt.amounts import count


@dataclass(frozen=True)
class Format:
    """A way to store a quantized matrix."""

    scheme: str
    """The name people know it by: `GPTQ`, `Q4_1`."""
    bits: int
    """Of one value, without its scales."""
    detail: str = ""
    """Beyond the bits: `groups of 128`."""

    def __str__(self) -> str:
        return ", ".join(part for part in (self.scheme, count(self.bits, "bit"), self.detail) if part)


@dataclass(frozen=True)
class Storage:
    """What the weights were before this program quantizes them."""

    formats: tuple[tuple[Format, int], ...]
    """Each with the number of its matrices; the most frequent first."""
    stated: str = ""
    """What a file beside the weights states about them, as canonical JSON: it counts like the weights."""

    @classmethod
    def of(cls, formats: Iterable[Format], stated: str = "") -> Storage | None:
        """None if there are none."""
        counted = Counter(formats).most_common()
        return cls(tuple(counted), stated) if counted else None

    def __str__(self) -> str:
        """`GPTQ, 4 bits, groups of 128`; with several formats each with its number of matrices."""
        if len(self.formats) == 1:
            return str(self.formats[0][0])
        return "; ".join(f"{format} ({number})" for format, number in self.formats)

    @property
    def sentence(self) -> str:
        """For `plan`, the log and the report."""
        return (
            f"the weights are already quantized ({self}): the float model is what they stand for, and errors are "
            "measured from it, not from the model they were made from"
        )
