"""Where torch computes."""

from __future__ import annotations

from qairt.errors import ToolchainNotAvailable


def torch_device(asked: str = "auto", where: str = "execution_environment.device") -> str:
    """The device to compute on, as torch names it: with `auto` a GPU where there is one that torch can use.

    Args:
        where: the setting that asks, for errors.

    Raises:
        ToolchainNotAvailable: a GPU is asked for that torch cannot use.
    """
    import torch

    if asked == "cpu":
        return asked
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "auto":
        return "cuda" if count else "cpu"
    _, _, number = asked.partition(":")
    if int(number or 0) >= count:
        found = f"torch {torch.__version__} can use {count}" if count else f"torch {torch.__version__} can use none"
        raise ToolchainNotAvailable(
            f"there is no GPU {asked}: {found}",
            where=where,
            remedy="set it to auto or cpu, or install a torch that was built for this machine's GPU",
        )
    return asked
