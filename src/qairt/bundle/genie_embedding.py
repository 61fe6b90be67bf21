"""`genie_config.json` of an embedding model: one block `embedding` instead of a dialog.

Measured with `libGenie.so` 1.21: with `mask-type: causal-pad-aware` Genie writes tokens from row 0 on, the pad token
behind them, and a mask whose last row hides the padding; the output is named `pooled_output`. It does not run the
tokenizer's post-processor and ignores `add-eos`: what that adds is in the prompt's template. `positional-encoding` must
be given, and `none` where the graphs hold their own.
"""

from __future__ import annotations

from qairt.bundle.genie_config import GenieFiles
from qairt.bundle.run_scripts import sdk_parts
from qairt.errors import ModelError
from qairt.model.config import DecoderConfig
from qairt.model.tokenizer import Tokenizer

_SCRIPT = """\
#!/bin/sh
# Makes a vector of a text with this bundle: sh run_genie.sh "a cat on a mat"
#
{libraries}
set -eu
{paths}if [ $# -ne 1 ]; then
  echo "usage: sh run_genie.sh TEXT" >&2
  exit 2
fi
{find}exec genie-t2e-run -c genie_config.json -p "$1"
"""


def embedding_script(*, htp: int) -> str:
    """`run_genie.sh`, for adb shell and Linux on Arm.

    Args:
        htp: the NPU's architecture, part of its libraries' names.
    """
    return _SCRIPT.format(**sdk_parts("genie-t2e-run", htp=htp))


def genie_embedding_config(
    config: DecoderConfig, tokenizer: Tokenizer, *, context_size: int, files: GenieFiles, threads: int = 3
) -> dict[str, object]:
    """The configuration of an embedding model, as JSON.

    Args:
        config: the model in the binaries.
        context_size: AR of their graphs.
        files: binaries, tokenizer and backend configuration.
        threads: of the CPU.
    """
    before, after = added_tokens(tokenizer)
    template = ["".join(tokenizer.fast.id_to_token(token) or "" for token in tokens) for tokens in (before, after)]
    htp = {
        "version": 1,
        "spill-fill-bufsize": 0,
        "use-mmap": True,
        "pooled-output": True,
        "allow-async-init": False,
        "disable-kv-cache": True,
    }
    backend: dict[str, object] = {"version": 1, "type": "QnnHtp", "QnnHtp": htp}
    if files.extensions is not None:
        backend["extensions"] = files.extensions
    return {
        "embedding": {
            "version": 1,
            "context": {
                "version": 1,
                "n-vocab": config.vocab_size,
                "ctx-size": context_size,
                "embed-size": config.embedding_size,
                "pad-token": pad_token(config, tokenizer),
            },
            "prompt": {"version": 1, "prompt-template": template},
            "tokenizer": {"version": 1, "path": files.tokenizer},
            "engine": {
                "version": 1,
                "n-threads": threads,
                "backend": backend,
                "model": {
                    "version": 1,
                    "type": "binary",
                    "mask-type": "causal-pad-aware",
                    "positional-encoding": {"type": "none"},
                    "binary": {"version": 1, "ctx-bins": list(files.binaries)},
                },
            },
        }
    }


def added_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and behind every text.

    Raises:
        ModelError: it does something else to a text.
    """
    plain, whole = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=True)
    starts = [at for at in range(len(whole) - len(plain) + 1) if whole[at : at + len(plain)] == plain]
    if not starts:
        raise ModelError(
            "its tokenizer does more than add tokens before and behind a text, which Genie cannot do",
            where="tokenizer.json",
            remedy="run the graphs in ONNX Runtime",
        )
    return whole[: starts[0]], whole[starts[0] + len(plain) :]


def pad_token(config: DecoderConfig, tokenizer: Tokenizer) -> int:
    """The tokenizer's, else an end token, else 0: no result depends on it."""
    named = tokenizer.special_token("pad_token")
    found = tokenizer.fast.token_to_id(named) if named is not None else None
    return found if found is not None else next(iter(config.eos_token_ids), 0)
