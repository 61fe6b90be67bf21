"""What the compiler made of a graph, against ONNX Runtime's CPU provider on the same graph and inputs.

A compiler can accept a graph and compute something else. Each graph is emulated twice, since what it then reads may be
memory that nothing has written.

1. Either side may round a value to the next step of its grid: only what differs by more is counted.
2. Keys and values, and whatever else a graph hands to its next call, must be within `MIN_STATE_DB`; hidden states and
   logits, on which the rounding of a whole layer adds up, within `MIN_DB`; everything of a graph with several layers,
   where it grows from layer to layer, within `MIN_DEEP_DB`.
3. A token that a router may give to one expert as well as to another is not compared (`qairt.runtime.undecided`).
4. Inputs are real text where it is known, else numbers drawn over the input's grid.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qairt.errors import ToolchainError
from qairt.graph.tensors import TensorSpec
from qairt.model.names import LOGITS, is_residual
from qairt.runtime.cpu import CpuPart
from qairt.runtime.emulator import EmulatedPart
from qairt.runtime.metrics import decibel
from qairt.runtime.parts import PartGraph
from qairt.runtime.stored import Array, to_real, to_stored
from qairt.runtime.undecided import undecided_tokens, without_tokens
from qairt.toolchain.soc import Soc

MIN_STATE_DB = 40.0
MIN_DB = 30.0
MIN_DEEP_DB = 20.0
"""Measured: right forms give 45 to 86 dB over one layer, and 27 over twelve of SmolLM2; the wrong ones 26 or less."""

UNCHECKED = "`generate_context_binary: {emulate: none}` builds the binary unchecked"
REMEDY = (
    "the compiler rewrites a form of this graph wrongly, so please report the model. mha_to_sha_conversion, if the"
    f" recipe leaves it out, or another optimization_level may avoid it; {UNCHECKED}"
)


@dataclass(frozen=True)
class Emulated:
    """The outputs of two runs on the emulator, compared."""

    db: Mapping[str, float]
    """SQNR against the CPU by output, of the worse run."""
    unsteady: Sequence[str] = ()
    """Outputs in which the runs differ from each other."""

    def faults(self) -> list[str]:
        """What is wrong, output by output: `past_key_0_out 9 dB (at least 40)`."""
        least = {name: self._least(name) for name in self.db}
        low = [f"{name} {db:.0f} dB (at least {least[name]:.0f})" for name, db in self.db.items() if db < least[name]]
        return low + [f"{name} differs from run to run" for name in self.unsteady]

    def _least(self, output: str) -> float:
        """The SQNR that an output must have, in dB."""
        if sum(name.startswith("past_key_") for name in self.db) > 1:
            return MIN_DEEP_DB
        return MIN_DB if is_residual(output) or output == LOGITS else MIN_STATE_DB

    def require_right(self, where: str) -> None:
        """
        Raises:
            ToolchainError: an output is wrong; names each.
        """
        faults = self.faults()
        if faults:
            raise ToolchainError(
                f"the compiled graph differs from the same graph in ONNX Runtime: {', '.join(faults)}",
                where=where,
                remedy=REMEDY,
            )


def emulate_twice(
    part: PartGraph,
    known: Mapping[str, Array],
    *,
    soc: Soc,
    optimization_level: int = 3,
    extended_udma: bool = False,
    threads: int = 1,
) -> Emulated:
    """Run a graph on the CPU, and twice on the emulator.

    Args:
        known: real inputs by name, float; those of another shape are not used.

    Raises:
        ToolchainError: the compiler rejected the graph, or the emulator died.
    """
    inputs = stored_inputs(part.signature.inputs, known)
    emulator = EmulatedPart(
        part, soc=soc, optimization_level=optimization_level, extended_udma=extended_udma, threads=threads
    )
    try:
        cpu = CpuPart(part, threads=threads, fold_weights=False)
        expected = cpu.run(inputs)
        cpu.close()
        first, second = emulator.run(inputs), emulator.run(inputs)
    except ToolchainError as error:
        error.remedy = UNCHECKED
        raise
    finally:
        emulator.close()
    outputs = part.signature.outputs
    left_out = undecided_tokens(part, inputs, threads=threads)

    def compared(spec: TensorSpec, found: Mapping[str, Array]) -> float:
        ours, theirs = (without_tokens(values[spec.name], spec.name, left_out) for values in (expected, found))
        return step_db(ours, theirs, spec)

    db = {spec.name: min(compared(spec, found) for found in (first, second)) for spec in outputs}
    unsteady = [spec.name for spec in outputs if not np.array_equal(first[spec.name], second[spec.name])]
    return Emulated({name: round(value, 1) for name, value in db.items()}, unsteady)


def step_db(expected: Array, found: Array, spec: TensorSpec) -> float:
    """SQNR in dB of stored values; a difference of one step of their grid is none."""
    if spec.scale is None:
        error = np.abs(np.subtract(expected, found, dtype=np.float64))
    else:
        steps = np.abs(np.subtract(expected, found, dtype=np.int64))
        error = np.maximum(steps - 1, 0) * spec.scale
    return decibel(float(np.square(to_real(expected, spec), dtype=np.float64).sum()), float(np.square(error).sum()))


def stored_inputs(specs: Iterable[TensorSpec], known: Mapping[str, Array]) -> dict[str, Array]:
    """Every input, on its grid; always the same numbers for the same names and shapes."""
    inputs = {}
    for spec in specs:
        real = known.get(spec.name)
        if real is not None and real.shape == spec.shape:
            inputs[spec.name] = to_stored(np.asarray(real), spec)
        else:
            inputs[spec.name] = _drawn(spec)
    return inputs


def _drawn(spec: TensorSpec) -> Array:
    """Normally distributed around zero, over the whole grid; token 0 for integers without one."""
    random = np.random.default_rng(zlib.crc32(spec.name.encode()))
    if spec.scale is None:
        is_float = np.dtype(spec.dtype).kind == "f"
        return np.asarray(random.normal(size=spec.shape) if is_float else np.zeros(spec.shape), spec.dtype)
    limits = np.iinfo(spec.dtype)
    zero = -(spec.offset or 0)
    values = random.normal(zero, (limits.max - limits.min) / 8, spec.shape)
    return np.asarray(np.clip(np.rint(values), limits.min, limits.max), spec.dtype)
