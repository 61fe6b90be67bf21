"""Text from Genie, the vendor's runtime, as `qairt.runtime.generate` gives it from a `Generator`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from qairt.amounts import duration
from qairt.errors import GenerationError
from qairt.runtime.generate import Answer, GenerationResult, StopReason, Vocabulary
from qairt.runtime.heartbeat import FIRST_PAUSE_S, heartbeat
from qairt.toolchain.genie.dialog import Dialog

Say = Callable[[str], None]


class GenieAnswer(Answer):
    """What Genie answers. In its `result`, `load_s` is what loading the binaries took."""

    def __init__(
        self,
        dialog: Dialog,
        vocabulary: Vocabulary,
        ids: Sequence[int],
        max_new_tokens: int,
        eos_ids: Sequence[int],
        *,
        expected_s: float = 0.0,
        say: Say = lambda line: None,
    ) -> None:
        """
        Args:
            dialog: with the model.
            vocabulary: the model's; Genie's own text loses what follows an incomplete character.
            ids: the prompt.
            eos_ids: tokens that end the answer; Genie tells that it ended, not by which.
            expected_s: about what a token takes.
            say: told that the prompt is still being read, and what a token took.
        """
        super().__init__(vocabulary, ids)
        self._dialog = dialog
        self._asked = min(max_new_tokens, dialog.room_after(len(ids)))
        self._max_new_tokens = max_new_tokens
        self._ends = tuple(eos_ids)
        self._expected_s = expected_s
        self._say = say
        self._times: list[float] = []
        """The clock at the start, at each token, and at the end where no token told it."""

    @property
    def result(self) -> GenerationResult:
        for _ in self:
            pass
        start, first, last = self._times[0], self._times[1], self._times[-1]
        ended = self._ends[:1] if self._stop_reason == "eos" else ()
        return GenerationResult(
            text=self._text,
            tokens=(*self._tokens, *ended),
            prompt_tokens=len(self.prompt_ids),
            stop_reason=self._stop_reason,
            time_to_first_token_s=first - start + self._dialog.load_s,
            load_s=self._dialog.load_s,
            prefill_s=first - start,
            decode_s=last - first,
            tokens_per_second=(len(self._times) - 2) / (last - first) if len(self._times) > 2 else None,
        )

    @property
    def _stop_reason(self) -> StopReason:
        if len(self._tokens) < self._asked:
            return "eos"
        return "max_new_tokens" if self._asked == self._max_new_tokens else "context"

    def _generate(self) -> Iterator[int]:
        self._times.append(time.perf_counter())
        told = self._dialog.query_tokens(self.prompt_ids, max_tokens=self._asked)
        while True:
            token = self._first(told) if len(self._times) == 1 else next(told, None)
            if token is None and len(self._tokens) == self._asked:
                return
            self._times.append(time.perf_counter())
            if token is None:  # it ended the answer
                return
            self._tokens.append(token)
            yield token

    def _first(self, told: Iterator[int]) -> int | None:
        expected = self._expected_s * len(self.prompt_ids)
        with heartbeat("reading the prompt", expected, self._say):
            token = next(told, None)
        seconds = time.perf_counter() - self._times[0]
        if seconds >= FIRST_PAUSE_S:
            each = seconds / len(self.prompt_ids)
            self._say(f"the prompt was read in {duration(seconds)}: {duration(each)} a token")
        return token


def require_same_tokens(ours: Sequence[int], genies: Sequence[int]) -> None:
    """That Genie's tokenizer makes of a prompt what the model's does.

    Raises:
        GenerationError: it does not; names the first difference.
    """
    if list(genies) == list(ours):
        return
    pairs = zip(ours, genies, strict=False)
    place = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(ours), len(genies)))
    raise GenerationError(
        f"Genie's tokenizer makes {len(genies)} tokens of the prompt, the model's {len(ours)};"
        f" they differ from token {place + 1} on",
        where="tokenizer.json",
        remedy="Genie does not know this kind of tokenizer as the model means it; use --target cpu",
    )
