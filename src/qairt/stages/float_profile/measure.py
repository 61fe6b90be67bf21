"""The work of `torch_profiler`: load the float model, measure the machine, answer prompts, write the results."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from qairt.engine.stage import Context
from qairt.errors import GenerationError
from qairt.files import read_regular
from qairt.machine import cpu_name
from qairt.model.config import DecoderConfig
from qairt.model.device import torch_device
from qairt.model.parameters import open_parameters
from qairt.model.tokenizer import Tokenizer
from qairt.runtime.generate import prompt_ids
from qairt.runtime.generator import require_known
from qairt.stages.float_profile.memory_trace import MemoryTimeline, MemoryTrace
from qairt.stages.float_profile.operators import OperatorTable
from qairt.stages.float_profile.operators_text import operators_markdown
from qairt.stages.float_profile.passes import (
    ReferenceOnDevice,
    TimedAnswer,
    answer,
    nvtx_region,
    profile,
    torch_threads,
)
from qairt.stages.float_profile.record import Machine, Profile, predictions_of
from qairt.stages.float_profile.roofline import Peak, measure_peak
from qairt.stages.float_profile.summarize import TIMED, WARM_UP, Measurement, summarize
from qairt.stages.float_profile.workload import ProfiledModel, ProfilerInput, TorchProfilerConfig, WorkloadConfig


def profile_model(source: Path, context: Context[TorchProfilerConfig, ProfilerInput]) -> ProfiledModel:
    """Run one item of `torch_profiler`.

    Args:
        source: the model's weights, a file or folder.

    Raises:
        GenerationError: a prompt does not fit into the model's context.
        ToolchainNotAvailable: `device` is cuda, and torch cannot use a GPU.
        ModelError: the weights or the tokenizer cannot be read.
    """
    config, directory = context.config, context.directory
    decoder = DecoderConfig.model_validate_json(read_regular(context.input.model))
    tokenizer = Tokenizer.from_directory(context.input.tokenizer)
    prompts = [_tokens(config, decoder, tokenizer, index) for index in range(len(config.prompts))]
    device = torch_device(config.device, where="device")
    model = ReferenceOnDevice(open_parameters(source, decoder), device)
    trace = directory / "trace.json.gz"
    profiled = None
    try:
        with torch_threads(context.threads), MemoryTrace(gpu=device == "cuda") as memory:
            timings = _measure(_Setup(model, prompts, config, device), memory, context.progress)
            if config.enable:
                context.progress(0.8, "answering under torch.profiler")
                with memory.phase("profiled"):
                    profiled = profile(
                        model,
                        prompts,
                        eos_ids=decoder.eos_token_ids,
                        max_new_tokens=min(config.profiled_tokens, config.max_new_tokens),
                        trace=trace,
                        cuda=device == "cuda",
                        on_recorded=lambda: context.progress(0.85, "collecting profiler events"),
                    )
            threads = torch.get_num_threads()
    finally:
        model.reset()
        model.release()
    context.progress(0.95, "writing results")
    machine = Machine(
        cpu=cpu_name(),
        threads=threads,
        device=torch.cuda.get_device_name() if device == "cuda" else "cpu",
        torch=torch.__version__,
        busy_elsewhere=timings.busy_elsewhere,
    )
    measurement = Measurement(
        prompts, timings.answers, timings.load_s, timings.peak, memory.timeline, machine, profiled
    )
    return _write(
        summarize(measurement, config, decoder, tokenizer),
        profiled.tables if profiled else None,
        memory.timeline,
        trace,
        directory,
    )


@dataclass(frozen=True)
class _Setup:
    """What to measure."""

    model: ReferenceOnDevice
    prompts: Sequence[Sequence[int]]
    config: WorkloadConfig
    device: str


@dataclass(frozen=True)
class _Timings:
    """Everything that is measured by wall clock."""

    load_s: float
    peak: Peak
    answers: list[list[TimedAnswer]]
    """For each prompt, one per repeat."""
    busy_elsewhere: float | None


def _measure(setup: _Setup, memory: MemoryTrace, progress: Callable[[float, str], None]) -> _Timings:
    model, prompts, config = setup.model, setup.prompts, setup.config
    eos_ids, max_new_tokens = model.config.eos_token_ids, config.max_new_tokens
    started = time.perf_counter()
    with memory.phase("load weights"):
        model.load(lambda fraction: progress(0.2 * fraction, "loading weights"))
    load_s = time.perf_counter() - started
    progress(0.2, "measuring the machine's peak")
    with memory.phase("measure peak"):
        peak = measure_peak(setup.device)
    progress(0.25, "warming up")
    with memory.phase(WARM_UP):
        for _ in range(config.warmup):
            for ids in prompts:
                answer(model, ids, eos_ids=eos_ids, max_new_tokens=max_new_tokens)
    region = nvtx_region if setup.device == "cuda" else (lambda name: nullcontext())
    answers: list[list[TimedAnswer]] = [[] for _ in prompts]
    with memory.phase(TIMED):
        load = _LoadElsewhere()
        for repeat in range(config.repeats):
            for index, ids in enumerate(prompts):
                done = (repeat * len(prompts) + index) / (config.repeats * len(prompts))
                progress(
                    0.35 + 0.45 * done,
                    f"prompt {index + 1} of {len(prompts)}, repeat {repeat + 1} of {config.repeats}",
                )
                answers[index].append(answer(model, ids, eos_ids=eos_ids, max_new_tokens=max_new_tokens, region=region))
        busy_elsewhere = load.cores()
    return _Timings(load_s, peak, answers, busy_elsewhere)


class _LoadElsewhere:
    """Average number of cores used by other processes since construction."""

    def __init__(self) -> None:
        self._before = self._now()

    def cores(self) -> float | None:
        """None if the system accounts for less CPU time in total than this process used."""
        everyone, own, clock = (now - before for now, before in zip(self._now(), self._before, strict=True))
        tick = 0.02  # process and system times are counted in separate ticks
        return None if everyone < own - tick or clock <= 0 else round(max(everyone - own, 0.0) / clock, 2)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """CPU seconds of all processes, CPU seconds of this process, and the wall clock."""
        system = psutil.cpu_times()
        idle = system.idle + getattr(system, "iowait", 0.0)
        guests = getattr(system, "guest", 0.0) + getattr(system, "guest_nice", 0.0)  # included in user and nice too
        own = os.times()
        return sum(system) - idle - guests, own.user + own.system, time.perf_counter()


def _tokens(config: WorkloadConfig, decoder: DecoderConfig, tokenizer: Tokenizer, index: int) -> list[int]:
    """Token ids of prompt `index`.

    Raises:
        GenerationError: the prompt and its answer do not fit into the model's context.
        ModelError: the tokenizer belongs to another model, or lacks the chat template that `chat` requires.
    """
    ids = prompt_ids(tokenizer, config.prompts[index], chat=config.chat)
    require_known(ids, decoder.vocab_size)
    limit = min(decoder.max_position_embeddings, decoder.longest_unwindowed or decoder.max_position_embeddings)
    if len(ids) + config.max_new_tokens > limit:
        which = "prompt" if "prompts" in config.model_fields_set else "default prompt"
        raise GenerationError(
            f"{which} {index + 1} has {len(ids)} tokens; with {config.max_new_tokens} more for the answer it exceeds "
            f"the model's context of {limit}",
            where="prompts",
            remedy='set shorter ones, such as stages.torch_profiler.prompts=["Hi"], or a smaller max_new_tokens there',
        )
    return ids


def _write(
    profile: Profile, tables: list[OperatorTable] | None, timeline: MemoryTimeline, trace: Path, directory: Path
) -> ProfiledModel:
    profile_file, predictions, memory = (
        directory / name for name in ("profile.json", "predictions.jsonl", "memory.json")
    )
    profile_file.write_text(profile.model_dump_json(indent=1) + "\n", encoding="utf-8")
    lines = predictions_of(profile, strip_special_tokens=True)
    predictions.write_text("".join(line.model_dump_json() + "\n" for line in lines), encoding="utf-8")
    memory.write_text(timeline.model_dump_json() + "\n", encoding="utf-8")
    if tables is None:
        return ProfiledModel(profile=profile_file, predictions=predictions, memory=memory)
    operators, markdown = directory / "operators.json", directory / "operators.md"
    operators.write_text(json.dumps([table.model_dump() for table in tables], indent=1) + "\n", encoding="utf-8")
    markdown.write_text(operators_markdown(tables), encoding="utf-8")
    return ProfiledModel(
        profile=profile_file,
        predictions=predictions,
        memory=memory,
        operators=operators,
        operators_markdown=markdown,
        trace=trace,
    )
