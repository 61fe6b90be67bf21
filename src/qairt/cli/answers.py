"""Answers of `qairt execute`: streamed to standard output, with what each took on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Event
from typing import TYPE_CHECKING, NotRequired, TypedDict

from qairt.amounts import count, duration, size
from qairt.cli.console import emit, report, styled

if TYPE_CHECKING:
    from qairt.cli.options import ActiveAdapters, ExecuteTarget
    from qairt.cli.prompts import Conversation, Prompt
    from qairt.llm import LLMPipeline
    from qairt.results.device_selection import DeviceSelection
    from qairt.runtime.generate import Answer


class Answered(TypedDict):
    """One answer for scripts; times in seconds, None where the runtime did not report them."""

    prompt: str
    text: str
    device: NotRequired[str]
    prompt_tokens: int | None
    generated_tokens: int | None
    time_to_first_token_s: float | None
    tokens_per_second: float | None
    load_s: float | None
    seconds: NotRequired[float]
    files: NotRequired[str]
    stop_reason: NotRequired[str]


def answer_on_device(
    pipeline: LLMPipeline,
    selection: DeviceSelection,
    prompts: list[Prompt],
    max_new_tokens: int | None,
    active: ActiveAdapters,
    *,
    keep: bool,
    show: bool,
) -> list[Answered]:
    """Answer on a device.

    Args:
        keep: what was sent will stay there; says where.
        show: stream the answers to standard output.

    Raises:
        KeyboardInterrupt: Ctrl-C; the program on the device has been ended.
    """
    from qairt.cli.interruption import interruptible

    answers: list[Answered] = []
    with (
        interruptible(Event()),
        pipeline.on_device(
            selection,
            [prompt.content for prompt in prompts],
            report,
            concurrency=active.concurrency,
            strengths=active.strengths,
        ) as target,
    ):
        for number, prompt in enumerate(prompts, 1):
            _announce(prompt, number, len(prompts))
            answer, folder = target.answer(
                prompt.content, max_new_tokens=max_new_tokens, show=_stream if show else _discard
            )
            timing = answer.timing
            answered = Answered(
                prompt=prompt.text,
                text=answer.text,
                device=target.folder.device.name,
                prompt_tokens=timing.prompt_tokens,
                generated_tokens=timing.generated_tokens,
                time_to_first_token_s=timing.time_to_first_token_s,
                tokens_per_second=timing.tokens_per_second,
                load_s=timing.init_s,
                seconds=answer.seconds,
                files=str(folder),
            )
            answers.append(answered)
            _report_cost(answered, show=show)
            if not answer.whole:
                report("the runtime did not mark the end of this answer: it may be incomplete")
        if keep:
            report(
                f"kept on the device for the next time: {size(target.folder.size())} in {target.folder.path}; the same"
                " command with --clean and without a prompt removes it"
            )
    return answers


def answer_here(
    pipeline: LLMPipeline,
    target: ExecuteTarget,
    prompts: list[Prompt],
    max_new_tokens: int | None,
    active: ActiveAdapters,
    *,
    show: bool,
) -> list[Answered]:
    """Answer on this machine; `show` streams the answers to standard output."""
    answers: list[Answered] = []
    with _opened(pipeline, target, max_new_tokens, active) as ask:
        for number, prompt in enumerate(prompts, 1):
            _announce(prompt, number, len(prompts))
            with ask(prompt.content) as pieces:
                if show:
                    for piece in pieces:
                        _stream(piece.text)
                result = pieces.result
            answered = Answered(
                prompt=prompt.text,
                text=result.text,
                prompt_tokens=result.prompt_tokens,
                generated_tokens=len(result.tokens),
                time_to_first_token_s=result.time_to_first_token_s,
                tokens_per_second=result.tokens_per_second,
                load_s=result.load_s,
                stop_reason=result.stop_reason,
            )
            answers.append(answered)
            _report_cost(answered, show=show)
    return answers


@contextmanager
def _opened(
    pipeline: LLMPipeline,
    target: ExecuteTarget,
    max_new_tokens: int | None,
    active: ActiveAdapters,
) -> Iterator[Callable[[Conversation], AbstractContextManager[Answer]]]:
    """A function that answers a prompt on this machine."""
    from qairt.runtime.emulator import MAX_NEW_TOKENS

    if target == "genie":
        model = pipeline.genie_model(active.concurrency, active.strengths)
        most = max_new_tokens or MAX_NEW_TOKENS
        yield lambda prompt: model.answer(prompt, None, max_new_tokens=most, chat=None, notify=report)
    elif target == "htp-emulator":
        with pipeline.generator(
            "htp-emulator", report, concurrency=active.concurrency, strengths=active.strengths
        ) as emulator:
            most = max_new_tokens or MAX_NEW_TOKENS
            yield lambda prompt: nullcontext(pipeline.answer(emulator, prompt, max_new_tokens=most))
    else:
        with pipeline.generator("cpu", report, concurrency=active.concurrency, strengths=active.strengths) as generator:
            most = max_new_tokens or 128
            yield lambda prompt: nullcontext(pipeline.answer(generator, prompt, max_new_tokens=most))


def _stream(text: str) -> None:
    emit(text, end="")


def _discard(text: str) -> None:
    pass


def _announce(prompt: Prompt, number: int, of: int) -> None:
    if of > 1:
        first = prompt.text.strip().splitlines()[0]
        report(styled(f"[{number}/{of}] {first[:72]}", "bold", stream=sys.stderr))


def _report_cost(answered: Answered, *, show: bool) -> None:
    if show:
        emit()
    report(styled(cost(answered), "dim", stream=sys.stderr))


def cost(answered: Answered) -> str:
    """`first token after 0.10 s, 8 tokens at 20.25 per second, model loaded in 0.9 s`; unknown times are omitted."""
    parts = []
    if answered["time_to_first_token_s"] is not None:
        parts.append(f"first token after {answered['time_to_first_token_s']:.2f} s")
    speed = f" at {answered['tokens_per_second']:.2f} per second" if answered["tokens_per_second"] else ""
    if answered["generated_tokens"] is not None:
        parts.append(f"{count(answered['generated_tokens'], 'token')}{speed}")
    elif speed:
        parts.append(f"tokens{speed}")
    if answered["load_s"]:
        parts.append(f"model loaded in {duration(answered['load_s'])}")
    return ", ".join(parts)
