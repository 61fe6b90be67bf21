"""Comparison of another way to run parts with ONNX Runtime's CPU provider, on the same graphs and inputs."""

from __future__ import annotations

from collections.abc import Mapping

from qairt.model.names import PAST, token_axis
from qairt.runtime.cpu import CpuPart
from qairt.runtime.metrics import sqnr_db
from qairt.runtime.parts import PartGraph
from qairt.runtime.stored import Array, Floats, to_real


class CpuComparison:
    """Runs every part again on the CPU and keeps the worst SQNR of each output.

    Errors do not accumulate over parts, because both get the same inputs.
    """

    def __init__(self) -> None:
        self.worst_sqnr_db: dict[str, dict[str, float]] = {}
        """SQNR in dB over the tokens of a call, the worst of all calls, by graph and output."""
        self._cpu: dict[str, CpuPart] = {}

    def ran(self, part: PartGraph, inputs: Mapping[str, Array], outputs: Mapping[str, Array], count: int) -> None:
        """Compare one run; the last `count` rows of its outputs are tokens."""
        signature = part.signature
        if signature.name not in self._cpu:
            self._cpu = {name: cpu for name, cpu in self._cpu.items() if cpu.part.signature.ar == signature.ar}
            self._cpu[signature.name] = CpuPart(part, fold_weights=False)
        expected = self._cpu[signature.name].run(inputs)
        worst = self.worst_sqnr_db.setdefault(signature.name, {})
        for spec in signature.outputs:
            reference, measured = (
                _tokens(spec.name, to_real(values[spec.name], spec), count) for values in (expected, outputs)
            )
            worst[spec.name] = min(worst.get(spec.name, float("inf")), sqnr_db(reference, measured))

    def summary(self) -> list[str]:
        """One line per graph: the worst of its keys and values, and of its other outputs."""
        lines = []
        for graph, outputs in self.worst_sqnr_db.items():
            cache = [db for name, db in outputs.items() if PAST.match(name)]
            others = [f"{name} {db:.0f} dB" for name, db in outputs.items() if not PAST.match(name)]
            lines.append(f"{graph}: " + ", ".join(([f"keys and values {min(cache):.0f} dB"] if cache else []) + others))
        return lines


def _tokens(name: str, values: Floats, count: int) -> Floats:
    """The last `count` tokens of an output."""
    return values[(slice(None),) * token_axis(name) + (slice(-count, None),)]
