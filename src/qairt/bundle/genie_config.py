"""`genie_config.json`: what Genie must know of a model and of the binaries it is in.

Source: the schema that stands in `libGenie.so` 1.21, which validates every one of these fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qairt.bundle.genie_rope import positional_encoding
from qairt.errors import ModelError
from qairt.model.config import DecoderConfig
from qairt.toolchain.genie.config import NO_TOKEN


def genie_config(
    config: DecoderConfig,
    *,
    context_size: int,
    binaries: Sequence[str],
    tokenizer: str,
    threads: int = 3,
    cpu_mask: str = "0xe0",
    poll: bool = True,
    extensions: str | None = None,
    puts_begin: bool = True,
) -> dict[str, Any]:
    """The configuration of one dialog; JSON as it is.

    Args:
        config: the model that the binaries hold.
        context_size: the longest context length among their graphs.
        binaries: paths in the order they run.
        tokenizer: path of `tokenizer.json`.
        threads: of Genie on the processor.
        cpu_mask: the cores it may use, in hexadecimal; by default the three fastest of a phone.
        poll: wait for the NPU without sleep: faster, and warmer.
        extensions: path of `htp_backend_ext_config.json`; None where the defaults of the backend do.
        puts_begin: Genie puts the model's beginning-of-text token before each prompt; see `chat_prompt.genie_prompt`.

    Raises:
        ModelError: a fact that Genie needs is missing from the model, or it has no words for it.
    """
    if not config.eos_token_ids:
        raise ModelError(
            "the model names no end-of-text token, and Genie would never stop",
            where="eos_token_id",
            remedy="state eos_token_id in the model's config.json or generation_config.json",
        )
    if not binaries:
        raise ValueError("no binaries")
    eos = list(config.eos_token_ids)
    begin = config.bos_token_id if puts_begin else None
    htp: dict[str, Any] = {
        "version": 1,
        "use-mmap": True,
        "spill-fill-bufsize": 0,
        "mmap-budget": 0,
        "poll": poll,
        "cpu-mask": cpu_mask,
        "kv-dim": config.head_dim,
        "allow-async-init": False,
    }
    model: dict[str, Any] = {"version": 1, "type": "binary", "binary": {"version": 1, "ctx-bins": list(binaries)}}
    if config.rope_scaling is None:
        htp |= {"pos-id-dim": config.head_dim // 2, "rope-theta": float(config.rope_theta)}
    else:
        # Genie takes either these two or a positional encoding, never both.
        model["positional-encoding"] = positional_encoding(config, context_size=context_size)
    backend: dict[str, Any] = {"version": 1, "type": "QnnHtp", "QnnHtp": htp}
    if extensions is not None:
        backend["extensions"] = extensions
    return {
        "dialog": {
            "version": 1,
            "type": "basic",
            "context": {
                "version": 1,
                "size": context_size,
                "n-vocab": config.vocab_size,
                "bos-token": NO_TOKEN if begin is None else begin,
                "eos-token": eos[0] if len(eos) == 1 else eos,
            },
            "sampler": {"version": 1, "seed": 0, "temp": 0.0, "top-k": 1, "top-p": 1.0, "greedy": True},
            "tokenizer": {"version": 1, "path": tokenizer},
            "engine": {"version": 1, "n-threads": threads, "backend": backend, "model": model},
        }
    }
