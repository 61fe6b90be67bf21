"""Every error qairt raises on purpose. Each says what happened, where, and what to do.

All of them derive from `QairtError`; users see a traceback only with `--debug`.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pydantic import JsonValue


class QairtError(Exception):
    """Base of the family: `what` went wrong, `where` (a file:line, a stage, a tensor), and the `remedy`.

    The same three fields reach the command line, the terminal interface and `--json`.
    """

    exit_code = 1
    out_of_memory = False
    """This machine's memory ran out: the same work may succeed with nothing beside it."""

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        first = f"{self.where}: {self.what}" if self.where else self.what
        return f"{first}\n  {self.remedy}" if self.remedy else first

    def as_dict(self) -> dict[str, JsonValue]:
        """The error as plain data, for events and `--json`."""
        return {"type": type(self).__name__, "what": self.what, "where": self.where, "remedy": self.remedy}


class RecipeError(QairtError, ValueError):
    """The recipe, or an override of it, is wrong. Raised before any work; several faults become one error."""

    exit_code = 2

    def __init__(
        self, what: str, *, where: str | None = None, remedy: str | None = None, faults: list[RecipeError] | None = None
    ) -> None:
        self.faults = faults or []
        super().__init__(what, where=where, remedy=remedy)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults) if self.faults else super().__str__()


class ContractViolation(QairtError):  # noqa: N818 - the name is part of the public interface
    """A stage is in the wrong position, or returned what its contract forbids. Names the stage."""

    exit_code = 2


class ModelError(QairtError):
    """A model's files are missing, truncated, of an unknown architecture, or hold unusable values."""

    exit_code = 2


class GraphError(QairtError):
    """An ONNX graph cannot be built, bound, split or rewritten; `where` names the node or tensor."""

    exit_code = 2


class QuantizationError(QairtError):
    """Calibration or an encoding went wrong; `where` names the tensor."""

    exit_code = 2


class ToolchainError(QairtError):
    """A compiler or DLC writer failed, or its artifact is not what was requested."""


class ToolchainNotAvailable(QairtError):  # noqa: N818 - the name is part of the public interface
    """A toolchain is missing or too old; the remedy says how to install it."""

    exit_code = 3


class GenerationError(QairtError):
    """Text cannot be generated: the prompt does not fit the context, or a sampling setting is out of range."""

    exit_code = 2


class EvaluationError(QairtError):
    """A model cannot be evaluated: a data set cannot be read, a text is too short, a package is missing.

    For a metric that is unknown or has wrong arguments, see `RecipeError`.
    """

    exit_code = 2


class DeviceError(QairtError):
    """A phone, board or laptop cannot be reached, cannot run what was compiled, or failed while it ran.

    For an SDK tool or library that is missing on this machine, see `ToolchainNotAvailable`.
    """


class CacheError(QairtError):
    """The cache directory cannot be used: unwritable, full, or damaged."""


class ItemFailed(QairtError):  # noqa: N818 - the name is part of the public interface
    """One item failed, by an error or because its process died; the other items continue.

    For an error that ends the whole run before items start, see `RecipeError` and `ContractViolation`.
    """

    def __init__(
        self,
        what: str,
        *,
        stage: str,
        label: str,
        where: str | None = None,
        remedy: str | None = None,
        signal: int | None = None,
        log_tail: list[str] | None = None,
    ) -> None:
        self.stage = stage
        self.label = label
        self.signal = signal
        self.log_tail = log_tail or []
        super().__init__(what, where=where or f"{stage} {label}".strip(), remedy=remedy)

    @classmethod
    def from_error(
        cls,
        error: BaseException,
        *,
        stage: str,
        label: str,
        remedy: str | None = None,
        log_tail: Sequence[str] = (),
    ) -> ItemFailed:
        """Any exception as the failure of an item.

        Args:
            remedy: used if the error has none.
        """
        if isinstance(error, ItemFailed):
            return error
        known = as_qairt_error(error)
        failed = cls(
            known.what,
            stage=stage,
            label=label,
            where=known.where,
            remedy=known.remedy or remedy,
            log_tail=list(log_tail),
        )
        failed.out_of_memory = known.out_of_memory
        return failed

    def as_dict(self) -> dict[str, JsonValue]:
        return super().as_dict() | {
            "stage": self.stage,
            "label": self.label,
            "signal": self.signal,
            "log_tail": list(self.log_tail),
        }


def as_qairt_error(error: BaseException) -> QairtError:
    """Any exception as what happened, where, and what to do."""
    if isinstance(error, QairtError):
        return error
    if is_disk_full(error):
        return disk_full(_path_of(error))
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        known = QairtError(
            "it ran out of memory", remedy="run fewer items at once (--jobs 1) or split the model further"
        )
        known.out_of_memory = True
        return known
    if isinstance(error, OSError):
        path = f" ({error.filename})" if error.filename else ""
        return QairtError(
            f"{error.strerror or error}{path}", remedy="fix the permissions or choose another folder, then run again"
        )
    return QairtError(f"{type(error).__name__}: {error}")


_NO_MEMORY = re.compile(
    r"\bout of memory\b|can(?:no|')t allocate memory|failed to allocate memory|\bbad_alloc\b|\bbad allocation\b",
    re.IGNORECASE,
)
"""What torch, ONNX Runtime and C++ say."""
_FULL = "no space left on device"
_KEPT = "; then run again: finished items are kept"
_NO_SPACE = re.compile(r"no space left on device|disk quota exceeded|not enough free space to write", re.IGNORECASE)
"""What libraries that write files themselves (safetensors, protobuf, ONNX Runtime, numpy) say."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that a disk is full."""
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or _NO_SPACE.search(str(cause)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def disk_full(where: str | None) -> QairtError:
    """The one error for a full disk, whoever was writing.

    Args:
        where: the file or folder that could not be written.
    """
    return QairtError(_FULL, where=where, remedy=_freeing("use another one with --cache-dir") + _KEPT)


def unwritable(error: OSError, what: str, place: object = None, *, instead: str, kept: bool = False) -> CacheError:
    """The one error for a place that is full, read-only or forbidden.

    Args:
        what: is written: `the report`.
        place: where; if left out, the error's own file.
        instead: of that place: `give another path with --html`.
        kept: the place is a cache, whose finished items stay.
    """
    return unusable(error, f"{what} cannot be written", place, instead=instead, kept=kept)


def unusable(error: OSError, what: str, place: object = None, *, instead: str, kept: bool = False) -> CacheError:
    """The same for a place that may have been read or written.

    Args:
        what: failed: `the run cannot continue`.
    """
    where = str(place) if place is not None else _path_of(error)
    rest = _KEPT if kept else ""
    if is_disk_full(error):
        return CacheError(_FULL, where=where, remedy=_freeing(instead) + rest)
    why = (error.strerror or str(error)).lower()
    forbidden = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    remedy = f"make it writable, or {instead}" if forbidden else instead
    return CacheError(f"{what}: {why}", where=where, remedy=remedy + rest)


def _freeing(instead: str) -> str:
    return f"free space on that disk (`qairt cache prune` removes what no run needs), or {instead}"


def _path_of(error: BaseException) -> str | None:
    return str(getattr(error, "filename", None) or "") or None


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    subject: str
    status: Literal["ok", "warning", "error"]
    text: str
    remedy: str | None = None
