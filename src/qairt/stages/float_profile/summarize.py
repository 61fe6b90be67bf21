"""Reduce raw measurements of the float model to a `Profile`: medians, spreads, utilisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from qairt.model.config import DecoderConfig
from qairt.model.tokenizer import Tokenizer
from qairt.stages.float_profile.memory_trace import MemoryTimeline
from qairt.stages.float_profile.operators import OperatorTable
from qairt.stages.float_profile.passes import Profiled, TimedAnswer
from qairt.stages.float_profile.record import Machine, Profile, ProfiledPhase, PromptProfile, Spread
from qairt.stages.float_profile.roofline import Peak, Utilisation
from qairt.stages.float_profile.work import bytes_read, decode_bytes, decode_flops, matrix_flops, weight_bytes
from qairt.stages.float_profile.workload import WorkloadConfig

WARM_UP, TIMED = "warm-up", "timed"
"""The memory phases in which prompts are answered without the profiler."""

_MATRIX_PRODUCTS = ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm")


@dataclass(frozen=True)
class Measurement:
    """Everything that was measured."""

    prompts: Sequence[Sequence[int]]
    """Token ids."""
    answers: Sequence[Sequence[TimedAnswer]]
    """For each prompt, one per repeat."""
    load_s: float
    peak: Peak
    timeline: MemoryTimeline
    machine: Machine
    profiled: Profiled | None


def summarize(measured: Measurement, config: WorkloadConfig, decoder: DecoderConfig, tokenizer: Tokenizer) -> Profile:
    """The results as `profile.json` stores them."""
    timeline, profiled = measured.timeline, measured.profiled
    answers = [one for repeats in measured.answers for one in repeats]
    lengths = [len(ids) for ids in measured.prompts for _ in range(config.repeats)]
    speeds = [one.tokens_per_s for one in answers if one.tokens_per_s is not None]
    return Profile(
        model=decoder.family,
        layers=decoder.num_layers,
        weight_bytes=weight_bytes(decoder),
        machine=measured.machine,
        warmup=config.warmup,
        repeats=config.repeats,
        load_s=measured.load_s,
        peak=measured.peak,
        time_to_first_token_ms=Spread.of([1e3 * one.prefill_s for one in answers]),
        prefill_tokens_per_s=Spread.of([length / one.prefill_s for length, one in zip(lengths, answers, strict=True)]),
        tokens_per_s=Spread.of(speeds) if speeds else None,
        prefill=_prefill(measured, decoder),
        decode=_decode(measured, decoder) if speeds else None,
        peak_resident_bytes=_peak(timeline, timeline.resident),
        peak_gpu_bytes=_peak(timeline, timeline.gpu) if timeline.gpu else None,
        profiled=[_phase(table, decoder, measured.prompts, profiled.answers) for table in profiled.tables]
        if profiled
        else [],
        prompts=[
            _prompt(prompt, ids, repeats, tokenizer)
            for prompt, ids, repeats in zip(config.prompts, measured.prompts, measured.answers, strict=True)
        ],
    )


def _prefill(measured: Measurement, decoder: DecoderConfig) -> Utilisation:
    lengths = [len(ids) for ids in measured.prompts]
    return Utilisation.of(
        sum(matrix_flops(decoder, length) for length in lengths),
        sum(bytes_read(decoder, length) for length in lengths),
        sum(median(one.prefill_s for one in repeats) for repeats in measured.answers),
        measured.peak,
    )


def _decode(measured: Measurement, decoder: DecoderConfig) -> Utilisation:
    steps = [
        (len(ids), len(repeats[0].tokens) - 1) for ids, repeats in zip(measured.prompts, measured.answers, strict=True)
    ]
    return Utilisation.of(
        sum(decode_flops(decoder, length, count) for length, count in steps),
        sum(decode_bytes(decoder, length, count) for length, count in steps),
        sum(median(one.decode_s for one in repeats) for repeats in measured.answers),
        measured.peak,
    )


def _peak(timeline: MemoryTimeline, samples: Sequence[int]) -> int:
    """The largest sample while prompts were answered without the profiler."""
    phases = [phase for phase in timeline.phases if phase.name in (WARM_UP, TIMED)]
    start, end = phases[0].start, phases[-1].end
    inside = [held for second, held in zip(timeline.seconds, samples, strict=True) if start <= second <= end]
    return max(inside or [samples[-1]])


def _prompt(prompt: str, ids: Sequence[int], repeats: Sequence[TimedAnswer], tokenizer: Tokenizer) -> PromptProfile:
    first = repeats[0]
    speeds = [one.tokens_per_s for one in repeats if one.tokens_per_s is not None]
    return PromptProfile(
        prompt=prompt,
        prompt_tokens=len(ids),
        tokens=len(first.tokens),
        ended=first.ended,
        text_raw=tokenizer.decode(first.tokens, skip_special_tokens=False),
        text_clean=tokenizer.decode(first.tokens).strip(),
        prefill_ms=Spread.of([1e3 * one.prefill_s for one in repeats]),
        decode_ms=Spread.of([1e3 * one.decode_s for one in repeats]),
        prefill_tokens_per_s=Spread.of([len(ids) / one.prefill_s for one in repeats]),
        tokens_per_s=Spread.of(speeds) if speeds else None,
        token_ms=[round(1e3 * median(times), 4) for times in zip(*(one.seconds for one in repeats), strict=False)],
    )


def _phase(
    table: OperatorTable, decoder: DecoderConfig, prompts: Sequence[Sequence[int]], answers: Sequence[TimedAnswer]
) -> ProfiledPhase:
    steps = [(len(ids), len(one.tokens) - 1) for ids, one in zip(prompts, answers, strict=True)]
    prefill = table.phase == "prefill"
    return ProfiledPhase(
        phase=table.phase,
        tokens=sum(length if prefill else decoded for length, decoded in steps),
        wall_ms=table.wall_ms,
        operators_ms=table.self_ms,
        matrix_flops=sum(row.flops for row in table.operators if row.name in _MATRIX_PRODUCTS),
        expected_flops=sum(
            matrix_flops(decoder, length) if prefill else decode_flops(decoder, length, decoded)
            for length, decoded in steps
        ),
    )
