"""What profiling a model found, as it is kept: `profile.json` and `predictions.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median, stdev

from qairt.stages.float_profile.roofline import Peak, Utilisation
from qairt.stages.predictions import Prediction, _Record


class Spread(_Record):
    """One quantity, measured several times."""

    median: float
    mean: float
    deviation: float
    """Standard deviation of the measurements; 0 of one."""
    low: float
    high: float
    samples: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(
            median=median(values),
            mean=fmean(values),
            deviation=stdev(values) if len(values) > 1 else 0.0,
            low=min(values),
            high=max(values),
            samples=len(values),
        )


class Machine(_Record):
    """What it was measured on."""

    cpu: str
    threads: int
    """That torch computed with."""
    device: str
    """`cpu`, or the name of the GPU."""
    torch: str
    busy_elsewhere: float | None
    """Cores that other processes of the machine kept busy while it was measured, on average; None where the system
    does not tell. Much more than 0 means that the numbers are too low."""


class PromptProfile(_Record):
    """One prompt: its answer, and what it took without the profiler."""

    prompt: str
    prompt_tokens: int
    tokens: int
    """Of the answer; the one that ended it counts."""
    ended: bool
    """The model ended its answer; else it was cut off."""
    text_raw: str
    """The answer with special tokens."""
    text_clean: str
    """Without them, and without white space around it."""
    prefill_ms: Spread
    """From the prompt's tokens to the first token of the answer."""
    decode_ms: Spread
    """For all tokens after the first."""
    prefill_tokens_per_s: Spread
    tokens_per_s: Spread | None
    """While decoding; None where the answer has one token."""
    token_ms: list[float]
    """Of each token of the answer, the first being the prefill: medians over the repeats."""


class ProfiledPhase(_Record):
    """Prefill or decode under the profiler, all prompts together."""

    phase: str
    tokens: int
    wall_ms: float
    operators_ms: float
    """All rows of the operator table."""
    matrix_flops: int
    """That torch counted for matrix products."""
    expected_flops: int
    """That the model's shape says."""


class Profile(_Record):
    """`profile.json`."""

    model: str
    """The decoder's family."""
    layers: int
    weight_bytes: int
    """Float32, as they are held."""
    machine: Machine
    warmup: int
    repeats: int
    load_s: float
    """Reading all weights into memory."""
    peak: Peak
    time_to_first_token_ms: Spread
    """Over all prompts and repeats, as are the next two."""
    prefill_tokens_per_s: Spread
    tokens_per_s: Spread | None
    prefill: Utilisation
    """The median repeat of each prompt, added up."""
    decode: Utilisation | None
    peak_resident_bytes: int
    """Of the process, while prompts were answered; what measuring the machine and the profiler take is not meant."""
    peak_gpu_bytes: int | None
    profiled: list[ProfiledPhase]
    """Empty where torch.profiler was switched off."""
    prompts: list[PromptProfile]


def predictions_of(profile: Profile, *, strip_special_tokens: bool) -> list[Prediction]:
    """The answers with the medians of what they took.

    Args:
        strip_special_tokens: `text_clean` has none of them; else it is the raw text without white space around it.
    """
    return [
        Prediction(
            prompt=found.prompt,
            text_raw=found.text_raw,
            text_clean=found.text_clean if strip_special_tokens else found.text_raw.strip(),
            prefill_ms=round(found.prefill_ms.median, 3),
            decode_ms=round(found.decode_ms.median, 3),
            tokens=found.tokens,
            tokens_per_s=round(found.tokens_per_s.median, 3) if found.tokens_per_s is not None else None,
        )
        for found in profile.prompts
    ]
