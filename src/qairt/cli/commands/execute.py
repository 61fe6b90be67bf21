"""`qairt execute`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qairt.amounts import count, duration, size
from qairt.cli.console import say, say_json, styled, tell
from qairt.cli.failures import tell_error
from qairt.cli.options import CacheDir, Json, Overrides, Recipe
from qairt.errors import QairtError, RecipeError

if TYPE_CHECKING:
    from qairt.cli.prompts import Prompt
    from qairt.llm import LLMPipeline
    from qairt.results.device_selection import DeviceSelection
    from qairt.runtime.generate import Generation
    from qairt.runtime.genie import GenieAnswer


class TargetName(StrEnum):
    device = "device"
    ssh = "ssh"
    genie = "genie"
    cpu = "cpu"
    htp_emulator = "htp-emulator"


_OVERRIDE = re.compile(r"[a-z]\w*(\.\w+)*=\S*")
ON_DEVICES = (TargetName.device, TargetName.ssh)


def execute(
    recipe: Recipe,
    prompt: Annotated[
        str | None,
        typer.Argument(metavar="PROMPT", help="What to say to the model; - reads standard input.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    target: Annotated[
        TargetName,
        typer.Option(
            help="device: Android by adb. ssh: Linux or Windows on Arm. genie: the vendor's runtime on this machine,"
            " the NPU emulated. cpu: the quantized graphs in ONNX Runtime. htp-emulator: as compiled, emulated."
        ),
    ] = TargetName.device,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which device: SERIAL or SERIAL@HOST[:PORT] of an adb server; USER@HOST, as ssh takes it.",
            show_default="ANDROID_SERIAL, or the only one",
        ),
    ] = None,
    prompt_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='A file with one prompt; a .jsonl file has one on each line, as "…", {"prompt": "…", "system": "…"} or'
            ' {"messages": […]}.',
            show_default=False,
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What the model is told before the prompt.", show_default=False),
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Cut an answer off there.",
            show_default="128; 4 emulated; on devices the context's end",
        ),
    ] = None,
    device_folder: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="The folder on the device to work in.",
            show_default="/data/local/tmp; by ssh the home folder",
        ),
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Leave nothing on the device; without a prompt, only that.")
    ] = False,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Answer prompts with the finished model on a phone or board.

    What differs from the last time is sent, compared by checksum; it stays there for the next time, in a folder that
    is named at the end, unless --clean is given. Programs and libraries come from the QAIRT SDK (sdk_root, or
    QAIRT_SDK_ROOT). Answers go to standard output as they come; what a device said, its logs and measurements are
    kept in `execute` of the cache folder.

    \b
    Examples:
      qairt execute recipe.yaml "What is the capital of France?"
      qairt execute recipe.yaml --prompt-file many.jsonl --system "Be brief."
      qairt execute recipe.yaml "Hi" --target ssh --device root@192.168.1.7
      qairt execute recipe.yaml "Hi" --target genie
    """
    from qairt.cli.prompts import read_prompts
    from qairt.cli.recipe_argument import open_pipeline

    if prompt is not None and (clean or prompt_file is not None) and _OVERRIDE.fullmatch(prompt):
        overrides, prompt = [prompt, *(overrides or [])], None  # the prompts are in the file, or there are none
    if target not in ON_DEVICES and (device is not None or device_folder is not None or clean):
        raise RecipeError(
            f"--target {target.value} runs on this machine: --device, --device-folder and --clean are for others",
            where="--target",
            remedy="leave them out, or give --target device or --target ssh",
        )
    pipeline = open_pipeline(recipe, overrides, cache_dir)
    if target in ON_DEVICES and pipeline.settings.backend != "HTP":
        raise RecipeError(
            "a device runs what is compiled for its NPU, and backend: CPU makes nothing for it",
            where=pipeline.recipe.where("backend"),
            remedy="set backend: HTP, or use --target cpu",
        )
    only_clean = clean and prompt is None and prompt_file is None
    prompts = [] if only_clean else read_prompts(prompt, prompt_file, system)
    if target not in ON_DEVICES:
        answers = _here(pipeline, target, prompts, max_new_tokens, as_json=as_json)
    else:
        from qairt.results.device_selection import DeviceSelection

        selection = DeviceSelection("ssh" if target is TargetName.ssh else "device", device, device_folder)
        answers = []
        try:
            if prompts:
                answers = _on_device(pipeline, selection, prompts, max_new_tokens, keep=not clean, as_json=as_json)
        except BaseException as error:
            stays = "what was sent stays for the next time; --clean alone removes it"
            if clean:
                stays = _clean_after(error, pipeline, selection)
            if isinstance(error, KeyboardInterrupt):
                tell_error("interrupted", remedy=stays)
            elif clean:
                tell(stays)
            raise
        if clean:
            where, taken = pipeline.clean_device(selection)
            tell(f"{where}: removed, {size(taken)}")
    if as_json:
        say_json({"target": target.value, "answers": answers})


def _clean_after(error: BaseException, pipeline: LLMPipeline, selection: DeviceSelection) -> str:
    """Remove everything though it went wrong, and say whether that could be done."""
    try:
        where, _ = pipeline.clean_device(selection)
    except QairtError as found:
        why = "" if str(found) == str(error) else f" ({found.what})"
        return f"the device could not be cleaned{why}; --clean without a prompt removes what may be left there"
    return f"nothing is left in {where}"


def _on_device(
    pipeline: LLMPipeline,
    selection: DeviceSelection,
    prompts: list[Prompt],
    max_new_tokens: int | None,
    *,
    keep: bool,
    as_json: bool,
) -> list[dict[str, Any]]:
    from qairt.cli.interruption import interruptible

    answers: list[dict[str, Any]] = []
    asked = [prompt.asked for prompt in prompts]
    with interruptible(Event()), pipeline.on_device(selection, asked, tell) as target:
        for number, prompt in enumerate(prompts, 1):
            _announce(prompt, number, len(prompts))
            show = _silent if as_json else _show
            answer, kept_in = target.answer(prompt.asked, max_new_tokens=max_new_tokens, show=show)
            found: dict[str, Any] = {
                "prompt": prompt.text,
                "text": answer.text,
                "device": target.folder.device.name,
                "prompt_tokens": answer.timing.prompt_tokens,
                "generated_tokens": answer.timing.generated_tokens,
                "time_to_first_token_s": answer.timing.time_to_first_token_s,
                "tokens_per_second": answer.timing.tokens_per_second,
                "load_s": answer.timing.init_s,
                "seconds": answer.seconds,
                "files": str(kept_in),
            }
            answers.append(found)
            _tell_cost(found, as_json=as_json)
            if not answer.whole:
                tell("the runtime did not mark the end of this answer: it may be cut off")
        if keep:
            folder = target.folder
            tell(
                f"left for the next time: {size(folder.size())} in {folder.path}; the same command with --clean and"
                " without a prompt removes it"
            )
    return answers


def _here(
    pipeline: LLMPipeline, target: TargetName, prompts: list[Prompt], max_new_tokens: int | None, *, as_json: bool
) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    with _opened(pipeline, target, max_new_tokens) as ask:
        for number, prompt in enumerate(prompts, 1):
            _announce(prompt, number, len(prompts))
            with ask(prompt.asked) as pieces:
                if not as_json:
                    for piece in pieces:
                        _show(piece.text)
                result = pieces.result
            found = {
                "prompt": prompt.text,
                "text": result.text,
                "prompt_tokens": result.prompt_tokens,
                "generated_tokens": len(result.tokens),
                "time_to_first_token_s": result.time_to_first_token_s,
                "tokens_per_second": result.tokens_per_second,
                "load_s": result.load_s,
                "stop_reason": result.stop_reason,
            }
            answers.append(found)
            _tell_cost(found, as_json=as_json)
    return answers


@contextmanager
def _opened(
    pipeline: LLMPipeline, target: TargetName, max_new_tokens: int | None
) -> Iterator[Callable[[Any], AbstractContextManager[Generation | GenieAnswer]]]:
    """What answers a prompt on this machine."""
    from qairt.runtime.emulator import MAX_NEW_TOKENS

    if target is TargetName.genie:
        model = pipeline.genie_model()
        count = max_new_tokens or MAX_NEW_TOKENS
        yield lambda prompt: model.answer(prompt, None, max_new_tokens=count, chat=None, notify=tell)
    elif target is TargetName.htp_emulator:
        with pipeline.generator("htp-emulator", tell) as emulator:
            count = max_new_tokens or MAX_NEW_TOKENS
            yield lambda prompt: nullcontext(pipeline.generate(emulator, prompt, max_new_tokens=count))
    else:
        with pipeline.generator("cpu", tell) as generator:
            count = max_new_tokens or 128
            yield lambda prompt: nullcontext(pipeline.generate(generator, prompt, max_new_tokens=count))


def _show(text: str) -> None:
    say(text, end="")


def _silent(text: str) -> None:
    pass


def _announce(prompt: Prompt, number: int, of: int) -> None:
    if of > 1:
        first = prompt.text.strip().splitlines()[0]
        tell(styled(f"[{number}/{of}] {first[:72]}", "bold", stream=sys.stderr))


def _tell_cost(found: dict[str, Any], *, as_json: bool) -> None:
    if not as_json:
        say()
    tell(styled(cost(found), "dim", stream=sys.stderr))


def cost(found: dict[str, Any]) -> str:
    """`first token after 0.10 s, 8 tokens at 20.25 a second, model loaded in 0.9 s`; what is not known is left out."""
    told = []
    if found["time_to_first_token_s"] is not None:
        told.append(f"first token after {found['time_to_first_token_s']:.2f} s")
    speed = f" at {found['tokens_per_second']:.2f} a second" if found["tokens_per_second"] else ""
    if found["generated_tokens"] is not None:
        told.append(f"{count(found['generated_tokens'], 'token')}{speed}")
    elif speed:
        told.append(f"tokens{speed}")
    if found["load_s"]:
        told.append(f"model loaded in {duration(found['load_s'])}")
    return ", ".join(told)
