"""The scripts in a bundle that answer a prompt on the device."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from qairt.bundle.chat_prompt import PromptAffixes
from qairt.bundle.genai_config import ADAPTER, RUNS_WITH

GENIE_SCRIPT = "run_genie.sh"
ORT_SCRIPT = "run_ort.py"

_LIBRARIES = """\
# Requires these files of the QAIRT SDK in this folder or its lib/ folder: {program}, libGenie.so, libQnnHtp.so,
# libQnnHtpNetRunExtensions.so, libQnnSystem.so, libQnnHtpV{htp}Stub.so (for Android or Linux on Arm) and
# libQnnHtpV{htp}Skel.so (from hexagon-v{htp})."""
_PATHS = """\
cd "$(dirname "$0")"
here=$(pwd)
export LD_LIBRARY_PATH="$here:$here/lib:${{LD_LIBRARY_PATH:-}}"
export ADSP_LIBRARY_PATH="$here;$here/lib;/vendor/dsp/cdsp;/vendor/lib/rfsa/adsp;/system/lib/rfsa/adsp;/dsp"
export PATH="$here:$here/lib:$PATH"
"""
_FIND = """\
command -v {program} >/dev/null || {{
  echo "{program} is not in $here: copy it from the QAIRT SDK, see the comment in this script" >&2
  exit 3
}}
"""
_GENIE = """\
#!/bin/sh
# Answers a prompt with this bundle: sh run_genie.sh "What is the capital of France?"
#
# With --save FOLDER it writes the conversation, and with --restore FOLDER a prompt goes on from it, without reading it
# again. Only the bundle that wrote it may restore it.
#
{libraries} On Android:
#   adb push BUNDLE /data/local/tmp/ && adb shell sh /data/local/tmp/BUNDLE/run_genie.sh "'What is …?'"
set -eu
from=$(pwd)
{paths}{arguments}{find}# {note}
{warn}prefix={prefix}
suffix={suffix}
config=genie_config.json
set --{lora}
if [ -n "$restore" ]; then
  [ -f "$restore/dialog.json" ] || {{
    echo "$restore holds no conversation: write one with --save" >&2
    exit 2
  }}
{restored}  set -- "$@" --restore "$restore"
fi
if [ -n "$save" ]; then
  mkdir -p "$save"
  set -- "$@" --save "$save"
fi
exec genie-t2t-run -c "$config" "$@" -p "$prefix$prompt$suffix"
"""
_ARGUMENTS = """\
usage() {{
  echo "usage: sh run_genie.sh PROMPT {names}[--save FOLDER] [--restore FOLDER]" >&2
  exit 2
}}
[ $# -ge 1 ] || usage
prompt=$1 save= restore={chosen}
shift
while [ $# -gt 0 ]; do
  case "$1" in
    --save | --restore)
      [ $# -ge 2 ] && [ -n "$2" ] || usage
      case "$2" in /*) folder=$2 ;; *) folder=$from/$2 ;; esac
      if [ "$1" = --save ]; then save=$folder; else restore=$folder; fi
      shift 2
      ;;
{cases}    *) usage ;;
  esac
done
"""
_CASE = """\
    {name})
      [ -z "$lora" ] || usage
      lora={argument}
      shift
      ;;
"""
_NO_BEGINNING = """\
  # Genie begins every prompt with the token of its configuration, also in the middle of a conversation
  config=$restore/genie_config.json
  sed 's/"bos-token": *[0-9]*/"bos-token": -1/' genie_config.json >"$config"
"""
_LOST = "The model's chat template has no plain text between two turns: the prompt goes to the model unchanged."

_ORT = '''\
"""Answers a prompt with this bundle: python run_ort.py "What is the capital of France?"

{needs}

It answers one prompt. onnxruntime-genai pads a prompt to a multiple of {window} tokens, and the padding takes up room:
of {context_size} tokens, at most {longest} may be the prompt. It cannot append a second turn: begin anew with all of
the conversation.
"""

{platform}import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime_genai as genai
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

HERE = Path(__file__).resolve().parent
# {note}
PREFIX = {prefix!r}
SUFFIX = {suffix!r}


def main(prompt: str{parameter}) -> None:
    installed = version("onnxruntime-genai")
    if not (0, 15) <= tuple(map(int, installed.split(".")[:2])) < (0, 17):
        sys.exit(f"onnxruntime-genai {{installed}} cannot run this bundle: pip install '{genai}'")
{warn}    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    ids = tokenizer.encode(PREFIX + prompt + SUFFIX, add_special_tokens={is_bare}).ids
    if len(ids) > {longest}:
        room = "at most {longest} of {context_size} may be the prompt"
        sys.exit(f"{{len(ids)}} prompt tokens leave no room for an answer: {{room}}")
{register}{model}    settings = genai.GeneratorParams(model)
    settings.set_search_options(max_length={context_size}, do_sample=False)
    generator = genai.Generator(model, settings)
    generator.append_tokens(np.array([ids], np.int32))
    text = DecodeStream(skip_special_tokens=True)
    while not generator.is_done():
        generator.generate_next_token()
        print(text.step(tokenizer, int(generator.get_next_tokens()[0])) or "", end="", flush=True)
    print()


if __name__ == "__main__":
{end}'''
_MODEL = "    model = genai.Model(str(HERE))\n"
_ADAPTED_MODEL = """\
    config = genai.Config(str(HERE))
    values = (HERE / "lora" / f"{{concurrency}}.onnx").read_bytes()  # onnxruntime-genai reads them while it loads
    config.add_model_data("{base}", values)
    model = genai.Model(config)
"""
_END = """\
    if len(sys.argv) != 2:
        sys.exit("usage: python run_ort.py PROMPT")
    main(sys.argv[1])
"""
_ADAPTED_END = """\
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], *([name] for name in {names})):
        sys.exit("usage: python run_ort.py PROMPT [{choice}]")
    main(*sys.argv[1:])
"""
_REGISTER = """\
    if platform.machine().lower() not in ("aarch64", "arm64"):
        sys.exit(f"this machine ({platform.machine()}) has no Hexagon NPU: copy the bundle to a device")
    import onnxruntime_qnn

    genai.register_execution_provider_library("QNNExecutionProvider", onnxruntime_qnn.get_library_path())
"""


def longest_prompt(context_size: int, window: int) -> int:
    """Tokens of the longest prompt after which onnxruntime-genai can answer: it reads whole windows, padded."""
    return (context_size - 1) // window * window


def sdk_parts(program: str, *, htp: int) -> dict[str, str]:
    """What every script says that runs a program of the SDK: the files it needs, where they are looked for, and an end
    where the program is not among them.

    Args:
        htp: the NPU's architecture, part of its libraries' names.
    """
    return {
        "libraries": _LIBRARIES.format(program=program, htp=htp),
        "paths": _PATHS.format(),
        "find": _FIND.format(program=program),
    }


def genie_script(
    affixes: PromptAffixes,
    *,
    htp: int,
    between: str | None = None,
    adds_bos: bool = False,
    concurrencies: Mapping[str, str] | None = None,
) -> str:
    """`run_genie.sh`, for adb shell and Linux on Arm.

    Args:
        affixes: the chat template.
        between: its text from an answer to the next message, see `chat_prompt.between_turns`; None if that is unknown.
        adds_bos: Genie begins prompts with a token.
        htp: the NPU's architecture, part of its libraries' names.
        concurrencies: of LoRA adapters, the base first, as genie-t2t-run takes them.
    """
    given = concurrencies or {}
    first = shlex.quote(next(iter(given.values()), ""))
    arguments = _ARGUMENTS.format(
        names=f"[{'|'.join(given)}] " if given else "",
        chosen=" lora=" if given else "",
        cases="".join(_CASE.format(name=name, argument=shlex.quote(argument)) for name, argument in given.items()),
    )
    restored = f"  prefix={shlex.quote(between or '')}"
    if between is None:
        restored = f"  echo {shlex.quote(_LOST)} >&2\n  prefix= suffix="
    return _GENIE.format(
        **sdk_parts("genie-t2t-run", htp=htp),
        arguments=arguments,
        restored=f"{restored}\n{_NO_BEGINNING if adds_bos else ''}",
        lora=f' --lora "${{lora:-{first}}}"' if given else "",
        note=affixes.note,
        warn=f"echo {shlex.quote(affixes.warning)} >&2\n" if affixes.warning else "",
        prefix=shlex.quote(affixes.prefix),
        suffix=shlex.quote(affixes.suffix),
    )


def ort_script(
    affixes: PromptAffixes, *, context_size: int, window: int, on_npu: bool, concurrencies: Sequence[str] = ()
) -> str:
    """`run_ort.py`, for Windows and Linux on Arm; without the NPU, for any machine.

    Args:
        context_size: tokens that the KV cache and the new tokens fill together.
        window: tokens that one call reads of a prompt.
        concurrencies: of LoRA adapters, the base first.
    """
    packages = [f'"onnxruntime-genai{RUNS_WITH}"', *(["onnxruntime-qnn"] if on_npu else []), "tokenizers"]
    return _ORT.format(
        genai=f"onnxruntime-genai{RUNS_WITH}",
        needs=f"Requires: pip install {' '.join(packages)}",
        note=affixes.note,
        warn=f"    print({affixes.warning!r}, file=sys.stderr)\n" if affixes.warning else "",
        prefix=affixes.prefix,
        suffix=affixes.suffix,
        is_bare=affixes.is_bare,
        register=_REGISTER if on_npu else "",
        platform="import platform\n" if on_npu else "",
        parameter=', concurrency: str = "base"' if concurrencies else "",
        model=_ADAPTED_MODEL.format(base=ADAPTER) if concurrencies else _MODEL,
        end=_ADAPTED_END.format(names=tuple(concurrencies), choice="|".join(concurrencies)) if concurrencies else _END,
        context_size=context_size,
        window=window,
        longest=longest_prompt(context_size, window),
    )
