"""The device that torch computes on."""

from __future__ import annotations

from qairt.errors import ToolchainNotAvailable


def torch_device(requested: str = "auto", where: str = "execution_environment.device") -> str:
    """The device to compute on, as torch names it; `auto` is a GPU if torch can use one.

    Args:
        where: the setting, for errors.

    Raises:
        ToolchainNotAvailable: torch cannot use the requested GPU.
    """
    import torch

    if requested == "cpu":
        return requested
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if requested == "auto":
        return "cuda" if count else "cpu"
    _, _, number = requested.partition(":")
    if int(number or 0) >= count:
        found = f"torch {torch.__version__} can use {count}" if count else f"torch {torch.__version__} can use none"
        raise ToolchainNotAvailable(
            f"there is no GPU {requested}: {found}",
            where=where,
            remedy="set it to auto or cpu, or install a torch build for this machine's GPU",
        )
    return requested
