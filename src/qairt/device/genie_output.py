"""What `genie-t2t-run` writes: the answer between its markers, as it comes, and how long it took.

    [PROMPT]: …           some versions repeat the prompt
    [BEGIN]: The answer.[END]
    [KPIS]: …             older versions; newer ones write a profile

Source: the tool's own output as published for SDK 2.2x to 2.4x, and its document "Genie Profile".
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Any

from qairt.files import parse_json

_ECHO = "[PROMPT]:"
_BEGIN = "[BEGIN]:"
_END = "[END]"
_KPIS = "[KPIS]"
_NUMBER = r"([\d.]+)"
_IN_SECONDS = {"us": 1e-6, "MICROSEC": 1e-6, "ms": 1e-3, "MILLISEC": 1e-3, "s": 1.0, "SEC": 1.0}


class AnswerStream:
    """Takes the tool's output piece by piece and gives the answer's text as soon as it is sure to be part of it."""

    def __init__(self, prompt: str) -> None:
        """
        Args:
            prompt: what was asked; markers that stand in it are not the tool's.
        """
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._prompt = prompt
        self._raw = ""
        self._begin: int | None = None
        self._given = 0

    def feed(self, data: bytes, *, last: bool = False) -> str:
        """More output -> text to show; may be empty."""
        self._raw += self._decode.decode(data, last)
        if self._begin is None:
            self._begin = self._find_begin(last=last)
        if self._begin is None:
            return ""
        text = self._raw[self._begin :]
        # A marker may be torn in two, and one that the model wrote is followed by more of its answer.
        sure = len(text) - len(_END) + 1
        held = text.find(_END)
        if held != -1:
            sure = text.rfind(_END) if last else held
        elif last:
            sure = len(text)
        new = text[self._given : max(sure, self._given)]
        self._given += len(new)
        return new

    @property
    def begun(self) -> bool:
        return self._begin is not None

    @property
    def ended(self) -> bool:
        """The answer's end was written."""
        return self._begin is not None and _END in self._raw[self._begin :]

    @property
    def raw(self) -> str:
        """All that was written."""
        return self._raw

    def _find_begin(self, *, last: bool) -> int | None:
        place = self._raw.find(_BEGIN)
        echo = self._raw.find(_ECHO)
        if -1 < echo < place:
            rest = self._raw[echo + len(_ECHO) :].removeprefix(" ")
            if self._prompt.startswith(rest):
                return None  # still repeating it
            after = len(self._raw) - len(rest)
            # It may stand there in another form, newlines as \n: then the marker is the one that begins a line.
            known = rest.startswith(self._prompt)
            place = self._raw.find(_BEGIN, after + len(self._prompt)) if known else self._raw.find(f"\n{_BEGIN}", after)
            place += place != -1 and not known
        if place == -1:
            return None
        place += len(_BEGIN)
        if not last and place == len(self._raw):  # a space may follow that is not the answer's
            return None
        return place + 1 if self._raw[place : place + 1] == " " else place


@dataclass(frozen=True)
class Timing:
    """How long an answer took, as the runtime measured it; None where it did not say."""

    init_s: float | None = None
    time_to_first_token_s: float | None = None
    prompt_tokens: int | None = None
    prompt_tokens_per_second: float | None = None
    generated_tokens: int | None = None
    tokens_per_second: float | None = None


def timing_of(profile: bytes | None, output: str) -> Timing:
    """From the profile the tool wrote, else from what it printed."""
    if profile is not None:
        try:
            return _from_profile(parse_json(profile))
        except (ValueError, TypeError, AttributeError, KeyError):  # another version's: what it printed may do
            pass
    return _from_kpis(output)


def _from_profile(document: Any) -> Timing:
    """`components: [{type: dialog, events: [{type: GenieDialog_query, time-to-first-token: {value, unit}, …}]}]`."""
    events: list[dict[str, Any]] = [event for component in document["components"] for event in component["events"]]
    none: dict[str, Any] = {}
    create = next((event for event in events if event["type"] == "GenieDialog_create"), none)
    query = next((event for event in reversed(events) if event["type"] == "GenieDialog_query"), none)

    def seconds(event: dict[str, Any], key: str) -> float | None:
        found = event.get(key)
        return found["value"] * _IN_SECONDS.get(found.get("unit"), 1e-6) if found else None

    def number(key: str) -> Any:
        found = query.get(key)
        return found["value"] if found else None

    prompt, generated = number("num-prompt-tokens"), number("num-generated-tokens")
    return Timing(
        init_s=seconds(create, "init-time"),
        time_to_first_token_s=seconds(query, "time-to-first-token"),
        prompt_tokens=None if prompt is None else int(prompt),
        prompt_tokens_per_second=number("prompt-processing-rate"),
        generated_tokens=None if generated is None else int(generated),
        tokens_per_second=number("token-generation-rate"),
    )


def _from_kpis(output: str) -> Timing:
    """`Init Time: 6549034 us`, `Token Generation Rate: 12.15 toks/sec`."""
    told = output[output.rfind(_KPIS) :] if _KPIS in output else ""

    def found(pattern: str) -> float | None:
        match = re.search(pattern, told)
        return float(match[1]) if match else None

    init, prompt = found(rf"Init Time\s*:\s*{_NUMBER} us"), found(rf"Prompt Processing Time\s*:\s*{_NUMBER} us")
    return Timing(
        init_s=None if init is None else init * 1e-6,
        time_to_first_token_s=None if prompt is None else prompt * 1e-6,
        prompt_tokens_per_second=found(rf"Prompt Processing Rate\s*:\s*{_NUMBER}"),
        tokens_per_second=found(rf"Token Generation Rate\s*:\s*{_NUMBER}"),
    )
