"""What runtimes with one mask, one rotary embedding, and a cache of keys and values alone cannot run.

Genie 1.21 takes `cache-groups`: keys and values of windowed layers under a prefix of their own (`swa_key_1_in`), with a
mask and a `sliding-window` of theirs. A tiny Ministral with such graphs (window 8 of a context of 32) is accepted and
runs, but its tokens are not the CPU's, below the window either: so it is refused here.
"""

from __future__ import annotations

from qairt.errors import ModelError
from qairt.model.config import DecoderConfig

GRAPHS = "run the graphs by `qairt generate`, and hand them on by `qairt export RECIPE DIR --layout workfolder`"


def require_one_kind(config: DecoderConfig, *, context_size: int, program: str) -> None:
    """
    Args:
        context_size: the longest context length of the graphs.
        program: what runs the bundle, for the error.

    Raises:
        ModelError: some layers need inputs that the program does not compute.
    """
    if config.convolution is not None:
        raise ModelError(
            f"{program} keeps keys and values only, and layers with a short convolution keep what it reads of the last"
            f" {config.convolution.length - 1} tokens",
            where=config.family,
            remedy=f"leave export_bundle out of the recipe: {GRAPHS}",
        )
    if config.local_rotary is not None:
        raise ModelError(
            f"{program} computes one rotary embedding, and the model's windowed layers have one of their own",
            where=config.family,
            remedy=f"leave export_bundle out of the recipe: {GRAPHS}",
        )
    if config.sliding_window is None or config.windowed_layers == () or context_size <= config.sliding_window:
        return
    raise ModelError(
        f"{program} computes no mask for layers with windowed attention, which look back "
        f"{config.sliding_window:,} of the context's {context_size:,} tokens",
        where="stages.prepare_exports.context_length",
        remedy=f"use at most {config.sliding_window}, where the windows hide nothing; or leave export_bundle out of the"
        f" recipe: {GRAPHS}",
    )
