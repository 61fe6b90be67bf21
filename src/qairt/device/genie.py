"""`genie-t2t-run` on a device: a prompt in, text out as it comes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qairt.device.base import Finished
from qairt.device.delivery import Folder
from qairt.device.device_run import DeviceRun
from qairt.device.failure import how_it_ended, last_words, remedy_for
from qairt.device.genie_output import AnswerStream, Timing, timing_of
from qairt.device.sdk_files import GENIE
from qairt.errors import DeviceError
from qairt.files import read_json
from qairt.toolchain.genie.config import GENIE_CONFIG, NO_TOKEN

BUNDLE = "bundle"
"""The folder on the device with the bundle's files."""

Show = Callable[[str], None]


@dataclass(frozen=True)
class Answer:
    """What came of one prompt."""

    text: str
    timing: Timing
    """As the runtime measured it; the time to the first token as it was seen here, where it did not."""
    seconds: float
    """All in all, loading the model included."""
    log: str
    """Everything that the program wrote."""
    profile: bytes | None
    whole: bool
    """The program marked the answer's end."""


class ProgramFailedError(DeviceError):
    """The program ran, and failed or gave no answer. Carries all that it wrote."""

    def __init__(self, what: str, *, where: str, remedy: str, log: str) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.log = log


def ask_genie(folder: Folder, config: dict[str, Any], prompt: str, adapter: str | None = None, *, show: Show) -> Answer:
    """Answer one prompt. The prompt goes over as a file, so that no shell reads it.

    Args:
        folder: holds the bundle and the SDK's files.
        config: the bundle's `genie_config.json`, see `for_one_prompt`.
        prompt: in the model's own chat template.
        adapter: a LoRA adapter of the configuration, applied first; `NAME,ALPHA,0.5,…` with strengths.
        show: gets the answer's text as it comes.

    Raises:
        ProgramFailedError: the program failed, or wrote no answer.
        DeviceError: it could not be started, or the device was lost.
    """
    stream = AnswerStream(prompt)
    first: list[float] = []
    pieces: list[str] = []

    def given(text: str) -> None:
        if text:
            first[:1] = first or [time.perf_counter()]
            pieces.append(text)
            show(text)

    with DeviceRun(folder) as run:
        run.write({"prompt.txt": prompt.encode(), GENIE_CONFIG: json.dumps(config, indent=2).encode()})
        inside = f"../{run.name}"
        words = ["-c", f"{inside}/{GENIE_CONFIG}", "--prompt_file", f"{inside}/prompt.txt"]
        words += ["--lora", adapter] if adapter is not None else []
        start = time.perf_counter()
        finished = run.program(
            GENIE,
            [*words, "--profile", f"{inside}/profile.json"],
            inside=BUNDLE,
            output=lambda data: given(stream.feed(data)),
        )
        seconds = time.perf_counter() - start
        given(stream.feed(b"", last=True))
        profile = run.read("profile.json") if finished.code == 0 else None
    log = stream.raw + finished.err.decode(errors="replace")
    _require_answer(finished, stream, log, folder.device.name)
    timing = timing_of(profile, stream.raw)
    if timing.time_to_first_token_s is None and first:
        timing = replace(timing, time_to_first_token_s=first[0] - start)
    return Answer("".join(pieces), timing, seconds, log, profile, stream.ended)


def read_config(path: Path) -> dict[str, Any]:
    """
    Raises:
        DeviceError: it is not a Genie configuration.
    """
    try:
        config = read_json(path)
        config["dialog"]["engine"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeviceError(
            f"it is not a configuration of Genie: {error}",
            where=str(path),
            remedy="`qairt bundle check` says what is wrong with it",
        ) from error
    found: dict[str, Any] = config
    return found


def for_one_prompt(config: dict[str, Any], *, max_new_tokens: int, has_begin: bool) -> dict[str, Any]:
    """A configuration for one prompt.

    Args:
        max_new_tokens: cut the answer off there. Genie is never asked for more than the context holds: it would write
            beyond its memory.
        has_begin: the prompt holds its beginning-of-text token; Genie would put another one before it.
    """
    dialog = config["dialog"] | {"max-num-tokens": max_new_tokens}
    if has_begin:
        dialog["context"] = dialog["context"] | {"bos-token": NO_TOKEN}
    return config | {"dialog": dialog}


def _require_answer(finished: Finished, stream: AnswerStream, log: str, where: str) -> None:
    if finished.code:
        raise ProgramFailedError(
            f"{GENIE} {how_it_ended(finished)} on the device{last_words(log)}",
            where=where,
            remedy=remedy_for(finished, log),
            log=log,
        )
    if not stream.begun:
        raise ProgramFailedError(
            f"{GENIE} ended as if all were well, but wrote no answer{last_words(log)}",
            where=where,
            remedy="another version of the SDK may write it in another form",
            log=log,
        )
