"""Prefill and decode prompts on the float model: timed, and under `torch.profiler`."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from qairt.model.parameters import Parameters
from qairt.model.reference import Reference
from qairt.model.torch_ops import Tap, TorchOps
from qairt.runtime.sampling import Sampling, TokenSampler
from qairt.stages.float_profile.operators import OperatorTable, calls_of, operator_table

PREFILL, DECODE = "qairt.prefill", "qairt.decode"
"""Region names in a trace."""

Region = Callable[[str], AbstractContextManager[object]]

nvtx_region: Region = torch.cuda.nvtx.range
"""An NVTX range; needs a GPU."""


class ReferenceOnDevice(Reference):
    """The float model with all weights on one device; logits are returned on the CPU.

    Args:
        device: `cpu` or `cuda`.
    """

    def __init__(self, parameters: Parameters, device: str = "cpu") -> None:
        self._device = device
        super().__init__(parameters, keep_weights=True)
        self._ops = TorchOps(parameters, device=device)

    def load(self, progress: Callable[[float], None] = lambda fraction: None) -> None:
        """Load every weight; `progress` gets the fraction done."""
        names = self.parameters.names()
        for number, name in enumerate(names, 1):
            self._ops.weight(name)
            progress(number / len(names))

    def positions(self, count: int, past: int = 0) -> dict[str, Tensor]:
        return {name: value.to(self._device) for name, value in super().positions(count, past).items()}

    def empty_past(self, layer: int, length: int = 0) -> tuple[Tensor, ...]:
        return tuple(value.to(self._device) for value in super().empty_past(layer, length))

    def head(self, hidden: Tensor, tap: Tap | None = None) -> Tensor:
        return super().head(hidden, tap).cpu()


@dataclass(frozen=True)
class TimedAnswer:
    """An answer to a prompt, with the time of each token."""

    tokens: tuple[int, ...]
    seconds: tuple[float, ...]
    """Per token; the first includes the whole prompt."""
    ended: bool
    """The last token is an end-of-sequence token."""

    @property
    def prefill_s(self) -> float:
        return self.seconds[0]

    @property
    def decode_s(self) -> float:
        return sum(self.seconds[1:])

    @property
    def tokens_per_s(self) -> float | None:
        """During decode; None for a single token."""
        return (len(self.tokens) - 1) / self.decode_s if len(self.tokens) > 1 else None


def answer(
    model: Reference,
    ids: Sequence[int],
    *,
    eos_ids: Collection[int],
    max_new_tokens: int,
    region: Region = lambda name: nullcontext(),
) -> TimedAnswer:
    """Prefill `ids` and decode greedily.

    Args:
        eos_ids: end-of-sequence tokens.
        region: context manager for the prefill, and for all decode steps together.

    Raises:
        GenerationError: the logits contain NaN.
    """
    model.reset()
    sampler = TokenSampler(Sampling())
    tokens: list[int] = []
    seconds: list[float] = []

    def step(inputs: Sequence[int]) -> None:
        started = time.perf_counter()
        tokens.append(sampler.pick(model.prefill(inputs)))
        seconds.append(time.perf_counter() - started)

    with region(PREFILL):
        step(ids)
    if tokens[-1] not in eos_ids and len(tokens) < max_new_tokens:
        with region(DECODE):
            while tokens[-1] not in eos_ids and len(tokens) < max_new_tokens:
                step(tokens[-1:])
    return TimedAnswer(tuple(tokens), tuple(seconds), tokens[-1] in eos_ids)


@dataclass
class Profiled:
    """What torch.profiler recorded."""

    tables: list[OperatorTable]
    """Prefill, and decode if there was any."""
    answers: list[TimedAnswer]


def profile(
    model: Reference,
    prompts: Sequence[Sequence[int]],
    *,
    eos_ids: Collection[int],
    max_new_tokens: int,
    trace: Path,
    cuda: bool,
    on_recorded: Callable[[], None] = lambda: None,
) -> Profiled:
    """Answer every prompt once under `torch.profiler`, which slows everything down.

    Args:
        prompts: token ids of each prompt.
        max_new_tokens: per answer.
        trace: path of the Chrome trace to write; its name ends in `.json.gz`.
        cuda: record GPU kernels too.
        on_recorded: called after the last answer, before the events are collected, which can take longer.
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    if cuda:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    clock = _Clock()
    with torch.profiler.profile(
        activities=activities, record_shapes=True, profile_memory=True, with_flops=True
    ) as profiler:
        with torch.profiler.record_function("qairt.begin"):  # warm-up: the first region takes longer
            pass
        answers = [
            answer(model, ids, eos_ids=eos_ids, max_new_tokens=max_new_tokens, region=clock.region) for ids in prompts
        ]
        on_recorded()
    profiler.export_chrome_trace(str(trace))
    calls = calls_of(profiler.events() or ())
    tables = [
        operator_table(calls, region, phase=phase, wall_ms=1e3 * clock.seconds[region])
        for phase, region in (("prefill", PREFILL), ("decode", DECODE))
        if region in clock.seconds
    ]
    return Profiled(tables, answers)


@dataclass
class _Clock:
    """Wall time of each region."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def region(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        with torch.profiler.record_function(name):
            yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Limit torch to `count` threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
