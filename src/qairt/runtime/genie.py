"""Text generation with Genie, the vendor's runtime, like `qairt.runtime.generate` with a `Generator`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from qairt.amounts import duration
from qairt.errors import GenerationError
from qairt.notify import Notify, silent
from qairt.runtime.generate import Answer, GenerationResult, StopReason, Vocabulary
from qairt.runtime.heartbeat import FIRST_PAUSE_S, heartbeat
from qairt.toolchain.genie.dialog import Dialog


class GenieAnswer(Answer):
    """The answer of Genie. In its `result`, `load_s` is the time of loading the binaries."""

    def __init__(
        self,
        dialog: Dialog,
        vocabulary: Vocabulary,
        ids: Sequence[int],
        max_new_tokens: int,
        eos_ids: Sequence[int],
        *,
        expected_s: float = 0.0,
        notify: Notify = silent,
    ) -> None:
        """
        Args:
            dialog: with the model.
            vocabulary: the model's; Genie's own text loses everything after an incomplete character.
            ids: the prompt.
            eos_ids: tokens that end the answer; Genie reports that it ended, not with which token.
            expected_s: expected seconds per token.
            notify: gets progress while the prompt is read, and the time per token.
        """
        super().__init__(vocabulary, ids)
        self._dialog = dialog
        self._requested = min(max_new_tokens, dialog.room_after(len(ids)))
        self._max_new_tokens = max_new_tokens
        self._ends = tuple(eos_ids)
        self._expected_s = expected_s
        self._notify = notify
        self._times: list[float] = []
        """The clock at the start, at each token, and at the end unless a token marks it."""

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
        if len(self._tokens) < self._requested:
            return "eos"
        return "max_new_tokens" if self._requested == self._max_new_tokens else "context"

    def _generate(self) -> Iterator[int]:
        self._times.append(time.perf_counter())
        tokens = self._dialog.query_tokens(self.prompt_ids, max_tokens=self._requested)
        while True:
            token = self._first(tokens) if len(self._times) == 1 else next(tokens, None)
            if token is None and len(self._tokens) == self._requested:
                return
            self._times.append(time.perf_counter())
            if token is None:  # end of the answer
                return
            self._tokens.append(token)
            yield token

    def _first(self, tokens: Iterator[int]) -> int | None:
        expected = self._expected_s * len(self.prompt_ids)
        with heartbeat("reading the prompt", expected, self._notify):
            token = next(tokens, None)
        seconds = time.perf_counter() - self._times[0]
        if seconds >= FIRST_PAUSE_S:
            each = seconds / len(self.prompt_ids)
            self._notify(f"read the prompt in {duration(seconds)}, {duration(each)} per token")
        return token


def require_same_tokens(ours: Sequence[int], genies: Sequence[int]) -> None:
    """Check that Genie's tokenizer and the model's give the same tokens for a prompt.

    Raises:
        GenerationError: they differ; names the first difference.
    """
    if list(genies) == list(ours):
        return
    pairs = zip(ours, genies, strict=False)
    first = next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(ours), len(genies)))
    raise GenerationError(
        f"Genie's tokenizer gives {len(genies)} tokens for the prompt, the model's {len(ours)};"
        f" they differ from token {first + 1} on",
        where="tokenizer.json",
        remedy="Genie does not support this kind of tokenizer correctly; use --target cpu",
    )
