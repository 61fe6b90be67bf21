"""Profiling results as stored: `profile.json` and `predictions.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median, stdev

from qairt.stages.float_profile.roofline import Peak, Utilisation
from qairt.stages.predictions import FrozenRecord, Prediction


class Spread(FrozenRecord):
    """Statistics of repeated measurements."""

    median: float
    mean: float
    deviation: float
    """Standard deviation; 0 for a single sample."""
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


class Machine(FrozenRecord):
    """The machine the measurement was taken on."""

    cpu: str
    threads: int
    """Threads used by torch."""
    device: str
    """`cpu`, or the name of the GPU."""
    torch: str
    busy_elsewhere: float | None
    """Average number of cores used by other processes during the measurement; None if unknown. Well above 0, the speeds
    are too low."""


class PromptProfile(FrozenRecord):
    """One prompt: its answer and timings, taken without the profiler."""

    prompt: str
    prompt_tokens: int
    tokens: int
    """Length of the answer, including the end-of-sequence token."""
    ended: bool
    """False if the answer was cut off."""
    text_raw: str
    """The answer with special tokens."""
    text_clean: str
    """Without them, stripped."""
    prefill_ms: Spread
    """Time to the first token of the answer."""
    decode_ms: Spread
    """Time of all tokens after the first."""
    prefill_tokens_per_s: Spread
    tokens_per_s: Spread | None
    """During decode; None if the answer is a single token."""
    token_ms: list[float]
    """Median time of each token of the answer; the first is the prefill."""


class ProfiledPhase(FrozenRecord):
    """Prefill or decode under the profiler, summed over all prompts."""

    phase: str
    tokens: int
    wall_ms: float
    operators_ms: float
    """Sum over the operator table."""
    matrix_flops: int
    """Matrix-product FLOPs counted by torch."""
    expected_flops: int
    """Matrix-product FLOPs computed from the model's shape."""


class Profile(FrozenRecord):
    """`profile.json`."""

    model: str
    """Model family."""
    layers: int
    weight_bytes: int
    """Float32, as loaded."""
    machine: Machine
    warmup: int
    repeats: int
    load_s: float
    """Time to load all weights."""
    peak: Peak
    time_to_first_token_ms: Spread
    """Over all prompts and repeats; so are the next two."""
    prefill_tokens_per_s: Spread
    tokens_per_s: Spread | None
    prefill: Utilisation
    """Sum over prompts of the median repeat."""
    decode: Utilisation | None
    peak_resident_bytes: int
    """Peak of the process while answering; excludes the peak measurement and the profiler."""
    peak_gpu_bytes: int | None
    profiled: list[ProfiledPhase]
    """Empty if torch.profiler was disabled."""
    prompts: list[PromptProfile]


def predictions_of(profile: Profile, *, strip_special_tokens: bool) -> list[Prediction]:
    """The answers with median timings.

    Args:
        strip_special_tokens: remove special tokens from `text_clean`; it is stripped of whitespace either way.
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
