"""`qairt execute`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.cli import exit_codes
from qairt.cli.console import emit_json, report
from qairt.cli.failures import report_error
from qairt.cli.options import CacheDir, Concurrency, ExecuteTarget, Json, Overrides, Recipe, Strengths, active_adapters
from qairt.errors import QairtError, RecipeError
from qairt.recipe.configs import BASE

if TYPE_CHECKING:
    from qairt.cli.answers import Answered
    from qairt.cli.prompts import Prompt
    from qairt.llm import LLMPipeline
    from qairt.results.device_selection import DeviceSelection


@dataclass(frozen=True)
class PromptOptions:
    """Prompts that are not on the command line, and how long an answer may be."""

    prompt_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='A file with one prompt; a .jsonl file has one per line, as "…", {"prompt": "…", "system": "…"} or'
            ' {"messages": […]}.',
            show_default=False,
        ),
    ] = None
    system: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The system prompt.", show_default=False),
    ] = None
    concurrency: Concurrency = BASE
    strength: Strengths = None
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="The most tokens to generate.",
            show_default="128; 4 if emulated; on devices as many as the context holds",
        ),
    ] = None


@dataclass(frozen=True)
class Destination:
    """Where the model runs, and what stays on a device."""

    target: Annotated[
        ExecuteTarget,
        typer.Option(
            help="device: Android, by adb. ssh: Linux or Windows on Arm. genie: the vendor's runtime on this machine,"
            " with the NPU emulated. cpu: the quantized graphs in ONNX Runtime. htp-emulator: the graphs compiled for"
            " the NPU, emulated."
        ),
    ] = "device"
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The device: SERIAL or SERIAL@HOST[:PORT] of an adb server; USER@HOST for ssh.",
            show_default="ANDROID_SERIAL, or the only one",
        ),
    ] = None
    device_folder: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="The working folder on the device.",
            show_default="/data/local/tmp; by ssh the home folder",
        ),
    ] = None
    clean: Annotated[
        bool,
        typer.Option("--clean", help="Remove everything from the device afterwards; without a prompt, only that."),
    ] = False

    @property
    def is_device(self) -> bool:
        return self.target in ("device", "ssh")


def execute(
    recipe: Recipe,
    prompt: Annotated[
        str | None,
        typer.Argument(metavar="PROMPT", help="The prompt; - reads standard input.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    *,
    to: Destination,
    options: PromptOptions,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Answer prompts with the finished model on a phone or board.

    Only files that differ from those on the device are sent, compared by checksum. They stay for the next time, in a
    folder that is printed at the end, unless --clean is given. Programs and libraries come from the QAIRT SDK
    (sdk_root, or QAIRT_SDK_ROOT). Answers are streamed to standard output; the device's output, logs and measurements
    are kept in `execute` of the cache folder.

    \b
    Examples:
      qairt execute recipe.yaml "What is the capital of France?"
      qairt execute recipe.yaml --prompt-file many.jsonl --system "Be brief."
      qairt execute recipe.yaml "Hi" --target ssh --device root@192.168.1.7
      qairt execute recipe.yaml "Hi" --target genie --concurrency french
    """
    from qairt.cli.find_recipe import open_pipeline
    from qairt.cli.prompts import prompt_and_overrides, read_prompts

    words = [word for word in (prompt, *(overrides or ())) if word is not None]
    prompt, overrides = prompt_and_overrides(words, optional=to.clean or options.prompt_file is not None)
    _require_device_target(to)
    pipeline = open_pipeline(recipe, overrides, cache_dir)
    if to.is_device and pipeline.settings.backend != "HTP":
        raise RecipeError(
            "a device needs graphs compiled for its NPU, which backend: CPU does not produce",
            where=pipeline.recipe.where("backend"),
            remedy="set backend: HTP, or use --target cpu",
        )
    only_clean = to.clean and prompt is None and options.prompt_file is None
    prompts = [] if only_clean else read_prompts(prompt, options.prompt_file, options.system)
    if to.is_device:
        answers = _on_device(pipeline, to, prompts, options, as_json=as_json)
    else:
        from qairt.cli.answers import answer_here

        answers = answer_here(
            pipeline,
            to.target,
            prompts,
            options.max_new_tokens,
            active_adapters(options.concurrency, options.strength),
            show=not as_json,
        )
    if as_json:
        emit_json({"target": to.target, "answers": answers})


def _require_device_target(to: Destination) -> None:
    if not to.is_device and to != Destination(to.target):
        raise RecipeError(
            f"--target {to.target} runs on this machine: it takes no --device, --device-folder or --clean",
            where="--target",
            remedy="omit them, or give --target device or --target ssh",
        )


def _on_device(
    pipeline: LLMPipeline,
    to: Destination,
    prompts: list[Prompt],
    options: PromptOptions,
    *,
    as_json: bool,
) -> list[Answered]:
    """Answer on the device, and clean it if requested, also after a failure."""
    from qairt.cli.answers import answer_on_device
    from qairt.results.device_selection import DeviceSelection

    selection = DeviceSelection("ssh" if to.target == "ssh" else "device", to.device, to.device_folder)
    answers: list[Answered] = []
    try:
        if prompts:
            answers = answer_on_device(
                pipeline,
                selection,
                prompts,
                options.max_new_tokens,
                active_adapters(options.concurrency, options.strength),
                keep=not to.clean,
                show=not as_json,
            )
    except BaseException as error:
        remains = "files stay on the device for the next time; --clean alone removes them"
        if to.clean:
            remains = _clean_after(error, pipeline, selection)
        if isinstance(error, KeyboardInterrupt):
            report_error("interrupted", remedy=remains)
            raise typer.Exit(exit_codes.INTERRUPTED) from None
        if to.clean:
            report(remains)
        raise
    if to.clean:
        from qairt.amounts import size

        where, freed = pipeline.clean_device(selection)
        report(f"{where}: removed, {size(freed)}")
    return answers


def _clean_after(error: BaseException, pipeline: LLMPipeline, selection: DeviceSelection) -> str:
    """Clean the device after a failure; returns a sentence about what is left there."""
    try:
        where, _ = pipeline.clean_device(selection)
    except QairtError as failure:
        why = "" if str(failure) == str(error) else f" ({failure.what})"
        return f"the device could not be cleaned{why}; --clean without a prompt removes what may be left there"
    return f"nothing is left in {where}"
