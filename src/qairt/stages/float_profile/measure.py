"""The work of `torch_profiler`: load the float model, measure the machine, answer prompts, write what was found."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import psutil
import torch

from qairt.engine.stage import Context
from qairt.errors import GenerationError
from qairt.model.config import DecoderConfig
from qairt.model.device import torch_device
from qairt.model.parameters import open_parameters
from qairt.model.tokenizer import Tokenizer
from qairt.runtime.generate import prompt_ids
from qairt.runtime.generator import require_known
from qairt.stages.float_profile.hardware import cpu_name
from qairt.stages.float_profile.memory_trace import MemoryTimeline, MemoryTrace
from qairt.stages.float_profile.operators import OperatorTable
from qairt.stages.float_profile.operators_text import operators_markdown
from qairt.stages.float_profile.passes import (
    Answer,
    Profiled,
    ReferenceOnDevice,
    answer,
    nvtx_region,
    profile,
    torch_threads,
)
from qairt.stages.float_profile.record import (
    Machine,
    Profile,
    ProfiledPhase,
    PromptProfile,
    Spread,
    predictions_of,
)
from qairt.stages.float_profile.roofline import Peak, Utilisation, measure_peak
from qairt.stages.float_profile.work import bytes_read, decode_bytes, decode_flops, matrix_flops, weight_bytes
from qairt.stages.float_profile.workload import ProfiledModel, ProfilerInput, TorchProfilerConfig, WorkloadConfig

Say = Callable[[float, str], None]

ANSWERING = ("warm-up", "timed")
"""The phases in which the model runs by itself."""

_PRODUCTS = ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm")


def profile_model(source: Path, context: Context[TorchProfilerConfig, ProfilerInput]) -> ProfiledModel:
    """Make the item of `torch_profiler`.

    Args:
        source: where the model's weights are.

    Raises:
        GenerationError: a prompt does not fit the model's context.
        ToolchainNotAvailable: a GPU is asked for, and torch cannot use one.
        ModelError: the weights or the tokenizer cannot be read.
    """
    config, directory = context.config, context.directory
    decoder = DecoderConfig.model_validate_json(context.input.model.read_bytes())
    tokenizer = Tokenizer.from_directory(context.input.tokenizer)
    prompts = [_tokens(config, decoder, tokenizer, place) for place in range(len(config.prompts))]
    device = torch_device(config.device, where="device")
    model = ReferenceOnDevice(open_parameters(source, decoder), device)
    trace = directory / "trace.json.gz"
    profiled = None
    try:
        with torch_threads(context.threads), MemoryTrace(gpu=device == "cuda") as memory:
            measured = _Measured(model, prompts, config, memory, device, context.progress)
            if config.enable:
                context.progress(0.8, "answering under torch.profiler")
                with memory.phase("profiled"):
                    profiled = profile(
                        model,
                        prompts,
                        ends=decoder.eos_token_ids,
                        most=min(config.profiled_tokens, config.max_new_tokens),
                        trace=trace,
                        cuda=device == "cuda",
                        recorded=lambda: context.progress(0.85, "putting together what was recorded"),
                    )
            threads = torch.get_num_threads()
    finally:
        model.reset()
        model.release()
    context.progress(0.95, "writing what was found")
    found = _as_record(measured, profiled, decoder, tokenizer, config, threads, memory.timeline)
    return _written(found, profiled.tables if profiled else None, memory.timeline, trace, directory)


class _Measured:
    """Everything that is measured by the clock, in its order."""

    def __init__(
        self,
        model: ReferenceOnDevice,
        prompts: Sequence[Sequence[int]],
        config: WorkloadConfig,
        memory: MemoryTrace,
        device: str,
        say: Say,
    ) -> None:
        ends = model.config.eos_token_ids
        self.prompts, self.device = prompts, device
        started = time.perf_counter()
        with memory.phase("reading the weights"):
            model.load(lambda part: say(0.2 * part, "reading the weights"))
        self.load_s = time.perf_counter() - started
        say(0.2, "measuring what the machine can do")
        with memory.phase("the machine's peak"):
            self.peak: Peak = measure_peak(device)
        say(0.25, "warming up")
        with memory.phase("warm-up"):
            for _ in range(config.warmup):
                for ids in prompts:
                    answer(model, ids, ends=ends, most=config.max_new_tokens)
        region = nvtx_region if device == "cuda" else (lambda name: nullcontext())
        self.answers: list[list[Answer]] = [[] for _ in prompts]
        """By prompt, one for each repeat."""
        with memory.phase("timed"):
            load = _LoadElsewhere()
            for repeat in range(config.repeats):
                for place, ids in enumerate(prompts):
                    done = (repeat * len(prompts) + place) / (config.repeats * len(prompts))
                    say(0.35 + 0.45 * done, f"prompt {place + 1} of {len(prompts)}, {repeat + 1} of {config.repeats}")
                    self.answers[place].append(answer(model, ids, ends=ends, most=config.max_new_tokens, region=region))
            self.busy_elsewhere = load.cores()


class _LoadElsewhere:
    """Cores that other processes kept busy since this was made."""

    def __init__(self) -> None:
        self._before = self._now()

    def cores(self) -> float | None:
        """On average; None where the system counts less for all than we used."""
        everyone, own, clock = (now - before for now, before in zip(self._now(), self._before, strict=True))
        tick = 0.02  # a process's times and the system's are counted in ticks of their own
        return None if everyone < own - tick or clock <= 0 else round(max(everyone - own, 0.0) / clock, 2)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """CPU seconds of all processes, of this one, and the clock."""
        system = psutil.cpu_times()
        idle = system.idle + getattr(system, "iowait", 0.0)
        guests = getattr(system, "guest", 0.0) + getattr(system, "guest_nice", 0.0)  # are in user and nice too
        own = os.times()
        return sum(system) - idle - guests, own.user + own.system, time.perf_counter()


def _tokens(config: WorkloadConfig, decoder: DecoderConfig, tokenizer: Tokenizer, place: int) -> list[int]:
    """A prompt's tokens.

    Raises:
        GenerationError: they do not fit the model's context with an answer.
        ModelError: the tokenizer is another model's, or has no chat template where one is asked for.
    """
    ids = prompt_ids(tokenizer, config.prompts[place], chat=config.chat)
    require_known(ids, decoder.vocab_size)
    most = min(decoder.max_position_embeddings, decoder.sliding_window or decoder.max_position_embeddings)
    if len(ids) + config.max_new_tokens > most:
        own = "prompts" in config.model_fields_set
        which = f"prompt {place + 1}" if own else f"prompt {place + 1} of those that qairt brings"
        raise GenerationError(
            f"{which} has {len(ids)} tokens, and {config.max_new_tokens} may follow: the model holds {most}",
            where="prompts",
            remedy='give shorter ones, such as stages.torch_profiler.prompts=["Hi"], or a smaller max_new_tokens there',
        )
    return ids


def _as_record(
    measured: _Measured,
    profiled: Profiled | None,
    decoder: DecoderConfig,
    tokenizer: Tokenizer,
    config: TorchProfilerConfig,
    threads: int,
    timeline: MemoryTimeline,
) -> Profile:
    every = [found for answers in measured.answers for found in answers]
    lengths = [len(ids) for ids in measured.prompts for _ in range(config.repeats)]
    decoding = [found.tokens_per_s for found in every if found.tokens_per_s is not None]
    firsts = [(len(ids), answers[0]) for ids, answers in zip(measured.prompts, measured.answers, strict=True)]
    prefill_s = sum(median(found.prefill_s for found in answers) for answers in measured.answers)
    decode_s = sum(median(found.decode_s for found in answers) for answers in measured.answers)
    gpu = torch.cuda.get_device_name() if measured.device == "cuda" else None
    return Profile(
        model=decoder.family,
        layers=decoder.num_layers,
        weight_bytes=weight_bytes(decoder),
        machine=Machine(
            cpu=cpu_name(),
            threads=threads,
            device=gpu or "cpu",
            torch=torch.__version__,
            busy_elsewhere=measured.busy_elsewhere,
        ),
        warmup=config.warmup,
        repeats=config.repeats,
        load_s=measured.load_s,
        peak=measured.peak,
        time_to_first_token_ms=Spread.of([1e3 * found.prefill_s for found in every]),
        prefill_tokens_per_s=Spread.of(
            [length / found.prefill_s for length, found in zip(lengths, every, strict=True)]
        ),
        tokens_per_s=Spread.of(decoding) if decoding else None,
        prefill=Utilisation.of(
            sum(matrix_flops(decoder, length) for length, _ in firsts),
            sum(bytes_read(decoder, length) for length, _ in firsts),
            prefill_s,
            measured.peak,
        ),
        decode=Utilisation.of(
            sum(decode_flops(decoder, length, len(found.tokens) - 1) for length, found in firsts),
            sum(decode_bytes(decoder, length, len(found.tokens) - 1) for length, found in firsts),
            decode_s,
            measured.peak,
        )
        if decoding
        else None,
        peak_resident_bytes=_most(timeline, timeline.resident),
        peak_gpu_bytes=_most(timeline, timeline.gpu) if timeline.gpu else None,
        profiled=[_phase(table, decoder, measured.prompts, profiled.answers) for table in profiled.tables]
        if profiled
        else [],
        prompts=[
            _of_prompt(prompt, ids, answers, tokenizer)
            for prompt, ids, answers in zip(config.prompts, measured.prompts, measured.answers, strict=True)
        ],
    )


def _most(timeline: MemoryTimeline, held: Sequence[int]) -> int:
    """The most that was held while prompts were answered without the profiler."""
    phases = [phase for phase in timeline.phases if phase.name in ANSWERING]
    start, end = phases[0].start, phases[-1].end
    looks = zip(timeline.seconds, held, strict=True)
    return max([found for second, found in looks if start <= second <= end] or [held[-1]])


def _of_prompt(prompt: str, ids: Sequence[int], answers: Sequence[Answer], tokenizer: Tokenizer) -> PromptProfile:
    first = answers[0]
    speeds = [found.tokens_per_s for found in answers if found.tokens_per_s is not None]
    return PromptProfile(
        prompt=prompt,
        prompt_tokens=len(ids),
        tokens=len(first.tokens),
        ended=first.ended,
        text_raw=tokenizer.decode(first.tokens, skip_special_tokens=False),
        text_clean=tokenizer.decode(first.tokens).strip(),
        prefill_ms=Spread.of([1e3 * found.prefill_s for found in answers]),
        decode_ms=Spread.of([1e3 * found.decode_s for found in answers]),
        prefill_tokens_per_s=Spread.of([len(ids) / found.prefill_s for found in answers]),
        tokens_per_s=Spread.of(speeds) if speeds else None,
        token_ms=[round(1e3 * median(times), 4) for times in zip(*(found.seconds for found in answers), strict=False)],
    )


def _phase(
    table: OperatorTable, decoder: DecoderConfig, prompts: Sequence[Sequence[int]], answers: Sequence[Answer]
) -> ProfiledPhase:
    steps = [(len(ids), len(found.tokens) - 1) for ids, found in zip(prompts, answers, strict=True)]
    prefill = table.phase == "prefill"
    return ProfiledPhase(
        phase=table.phase,
        tokens=sum(length if prefill else decoded for length, decoded in steps),
        wall_ms=table.wall_ms,
        operators_ms=table.self_ms,
        matrix_flops=sum(row.flops for row in table.operators if row.name in _PRODUCTS),
        expected_flops=sum(
            matrix_flops(decoder, length) if prefill else decode_flops(decoder, length, decoded)
            for length, decoded in steps
        ),
    )


def _written(
    found: Profile, tables: list[OperatorTable] | None, timeline: MemoryTimeline, trace: Path, directory: Path
) -> ProfiledModel:
    profile_file, predictions, memory = (
        directory / name for name in ("profile.json", "predictions.jsonl", "memory.json")
    )
    profile_file.write_text(found.model_dump_json(indent=1) + "\n")
    lines = predictions_of(found, strip_special_tokens=True)
    predictions.write_text("".join(line.model_dump_json() + "\n" for line in lines))
    memory.write_text(timeline.model_dump_json() + "\n")
    if tables is None:
        return ProfiledModel(profile=profile_file, predictions=predictions, memory=memory)
    operators, markdown = directory / "operators.json", directory / "operators.md"
    operators.write_text(json.dumps([table.model_dump() for table in tables], indent=1) + "\n")
    markdown.write_text(operators_markdown(tables))
    return ProfiledModel(
        profile=profile_file,
        predictions=predictions,
        memory=memory,
        operators=operators,
        operators_markdown=markdown,
        trace=trace,
    )
