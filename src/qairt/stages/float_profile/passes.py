"""Prefill and decode of prompts on the float model: by the clock, and under `torch.profiler`."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qairt.model.parameters import Parameters
from qairt.model.reference import MASKED, Reference, Tap, TorchOps
from qairt.runtime.sampling import Sampler, Sampling
from qairt.stages.float_profile.operators import OperatorTable, calls_of, operator_table

PREFILL, DECODE = "qairt.prefill", "qairt.decode"
"""Names of the regions in a trace."""

Region = Callable[[str], AbstractContextManager[Any]]

nvtx_region: Region = torch.cuda.nvtx.range
"""A range in NVIDIA's tools; needs a GPU."""


class ReferenceOnDevice(Reference):
    """The float model with all its weights on one device; its logits come back to the CPU.

    Args:
        device: `cpu` or `cuda`.
    """

    def __init__(self, parameters: Parameters, device: str = "cpu") -> None:
        self._device = device
        super().__init__(parameters, keep_weights=True)
        self._ops = TorchOps(parameters, device=device)

    def load(self, progress: Callable[[float], None] = lambda part: None) -> None:
        """Read every weight now; `progress` is told the part that is done."""
        names = self.parameters.names()
        for place, name in enumerate(names, 1):
            self._ops.weight(name)
            progress(place / len(names))

    def rotary(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        cos, sin = super().rotary(start, count)
        return cos.to(self._device), sin.to(self._device)

    def causal_mask(self, count: int, past: int = 0, masked: float = MASKED) -> Tensor:
        return super().causal_mask(count, past, masked).to(self._device)

    def empty_past(self, length: int = 0) -> tuple[Tensor, Tensor]:
        key, value = super().empty_past(length)
        return key.to(self._device), value.to(self._device)

    def head(self, hidden: Tensor, tap: Tap | None = None) -> Tensor:
        return super().head(hidden, tap).cpu()


@dataclass(frozen=True)
class Answer:
    """What the model said to a prompt, and when."""

    tokens: tuple[int, ...]
    seconds: tuple[float, ...]
    """Each token took, the first with the whole prompt."""
    ended: bool
    """The last token is one that ends answers."""

    @property
    def prefill_s(self) -> float:
        return self.seconds[0]

    @property
    def decode_s(self) -> float:
        return sum(self.seconds[1:])

    @property
    def tokens_per_s(self) -> float | None:
        """While decoding."""
        return (len(self.tokens) - 1) / self.decode_s if len(self.tokens) > 1 else None


def answer(
    model: Reference,
    ids: Sequence[int],
    *,
    ends: Collection[int],
    most: int,
    region: Region = lambda name: nullcontext(),
) -> Answer:
    """Prefill `ids` and decode greedily.

    Args:
        ends: tokens that end the answer.
        most: tokens of the answer.
        region: what the prefill, and all decoding after it, run inside.

    Raises:
        GenerationError: the logits hold NaN.
    """
    model.reset()
    sampler = Sampler(Sampling())
    tokens: list[int] = []
    seconds: list[float] = []

    def take(given: Sequence[int]) -> None:
        started = time.perf_counter()
        tokens.append(sampler.pick(model.prefill(given)))
        seconds.append(time.perf_counter() - started)

    with region(PREFILL):
        take(ids)
    if tokens[-1] not in ends and len(tokens) < most:
        with region(DECODE):
            while tokens[-1] not in ends and len(tokens) < most:
                take(tokens[-1:])
    return Answer(tuple(tokens), tuple(seconds), tokens[-1] in ends)


@dataclass
class Profiled:
    """What torch.profiler saw of some prompts."""

    tables: list[OperatorTable]
    """Prefill, and decode where there was any."""
    answers: list[Answer]


def profile(
    model: Reference,
    prompts: Sequence[Sequence[int]],
    *,
    ends: Collection[int],
    most: int,
    trace: Path,
    cuda: bool,
    recorded: Callable[[], None] = lambda: None,
) -> Profiled:
    """Answer every prompt once under `torch.profiler`, which makes everything slower.

    Args:
        prompts: their tokens.
        most: tokens of each answer.
        trace: gets the Chrome trace; its name ends in `.json.gz`.
        cuda: record GPU kernels too.
        recorded: called when all is answered, and what was recorded is put together, which can take longer.
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    if cuda:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    clock = _Clock()
    with torch.profiler.profile(
        activities=activities, record_shapes=True, profile_memory=True, with_flops=True
    ) as profiler:
        with torch.profiler.record_function("qairt.begin"):  # the first region of all takes longer
            pass
        answers = [answer(model, ids, ends=ends, most=most, region=clock.region) for ids in prompts]
        recorded()
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
    """The seconds that regions took, by the clock around them."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def region(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        with torch.profiler.record_function(name):
            yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """torch computes with `count` threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
