"""Measuring one rung: every part's graph on the same text, isolated and chained."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from qairt.amounts import duration
from qairt.errors import QairtError
from qairt.model.parts import Part
from qairt.notify import Notify
from qairt.runtime.cache import PAST
from qairt.runtime.stored import Array, Floats
from qairt.verify.graph import GraphRunner, OpenGraph
from qairt.verify.measure import Deviation, rows
from qairt.verify.result import OutputFidelity, Way
from qairt.verify.text import GraphCall, PartCache, ReferenceText

_SLOW_S = 3.0


@dataclass(frozen=True)
class RungGraphs:
    """The graphs of one rung."""

    rung: str
    parts: Sequence[Part]
    """In order."""
    ars: Sequence[int]
    cl: int
    open: OpenGraph


def measure(
    graphs: RungGraphs, text: ReferenceText, calls: Sequence[GraphCall], *, only: int | None, notify: Notify
) -> list[OutputFidelity]:
    """Run a rung's graphs, one in memory at a time: all calls of a part come before the next part.

    Each part runs isolated, on the float model's inputs, once per AR; and chained, on the outputs of the part before
    it in the same call and on its own keys and values of the earlier calls.

    Args:
        calls: how the chained parts read the text.
        only: report this part alone; those before it still run, to feed it.

    Raises:
        QairtError: an output holds NaN or infinity; names it, the rung and the part.
    """
    results: list[OutputFidelity] = []
    hidden: dict[GraphCall, dict[str, Floats]] = {call: {} for call in calls}
    for part in graphs.parts if only is None else graphs.parts[:only]:
        measured = _MeasuredPart(graphs, part, text, is_reported=only in (None, part.index))
        measured.run(calls, hidden, notify)
        results += measured.results()
    return results


@contextmanager
def _notify_when_slow(what: str, notify: Notify) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    if seconds >= _SLOW_S:
        notify(f"{what} after {duration(seconds)}")


class _MeasuredPart:
    """The calls of one part, and how far its outputs are from the float model's."""

    def __init__(self, graphs: RungGraphs, part: Part, text: ReferenceText, *, is_reported: bool) -> None:
        self._graphs = graphs
        self._part = part
        self._text = text
        self._is_reported = is_reported
        self._cache = PartCache()
        self._deviations: dict[tuple[Way, int, str], Deviation] = {}

    def run(self, calls: Sequence[GraphCall], hidden: dict[GraphCall, dict[str, Floats]], notify: Notify) -> None:
        """Run all calls, AR by AR.

        Args:
            hidden: by call, the outputs of the part before; replaced with this part's.
        """
        groups = [(ar, list(group)) for ar, group in groupby(calls, lambda call: call.ar)]
        chained = {ar for ar, _ in groups}
        groups += [(ar, []) for ar in sorted(self._graphs.ars, reverse=True) if ar not in chained and self._is_reported]
        isolated: set[int] = set()
        for ar, group in groups:
            name = f"{self._graphs.rung}: part {self._part.index} of {self._part.of}, AR {ar}"
            notify(name)
            graph = self._graphs.open(self._part, ar)
            try:
                with _notify_when_slow(f"{name}: ready", notify):
                    graph.ready()
                if ar not in isolated and self._is_reported:
                    isolated.add(ar)
                    with _notify_when_slow(f"{name}: ran isolated", notify):
                        self._run_isolated(graph, self._text.isolated_call(ar, self._graphs.cl))
                for number, call in enumerate(group, start=1):
                    with _notify_when_slow(f"{name}: ran call {number} of {len(group)}", notify):
                        hidden[call] = self._run_chained(graph, call, hidden[call])
            finally:
                graph.close()

    def results(self) -> list[OutputFidelity]:
        return [deviation.result(self._part.index, ar, way) for (way, ar, _), deviation in self._deviations.items()]

    def _run_isolated(self, graph: GraphRunner, call: GraphCall) -> None:
        cl = self._graphs.cl
        inputs = self._text.runtime_inputs(call, cl)
        if not self._part.has_embedding:
            inputs |= self._text.hidden_before(self._part.first_layer, call)
        inputs |= {name: self._text.past(name, call, cl) for name in graph.inputs if PAST.match(name)}
        self._compare("isolated", call, graph, graph.run(inputs))

    def _run_chained(self, graph: GraphRunner, call: GraphCall, hidden: dict[str, Floats]) -> dict[str, Floats]:
        """Returns the inputs of the next part."""
        cl = self._graphs.cl
        inputs: dict[str, Array] = self._text.runtime_inputs(call, cl) | hidden
        for name, shape in graph.inputs.items():
            if PAST.match(name):
                inputs[name] = self._cache.past(name, shape, call, cl)
        outputs = graph.run(inputs)
        self._compare("chained", call, graph, outputs)
        self._cache.append(outputs, call.new)
        return {name: values for name, values in outputs.items() if not PAST.match(name)}

    def _compare(self, way: Way, call: GraphCall, graph: GraphRunner, outputs: dict[str, Floats]) -> None:
        cpu_outputs = graph.cpu_outputs()
        for name, values in outputs.items():
            measured = rows(name, values, call.new)
            if not np.isfinite(measured).all():
                raise QairtError(
                    f"{int(measured.size - np.isfinite(measured).sum())} of {measured.size:,} values are NaN or"
                    f" infinite ({way})",
                    where=f"rung {self._graphs.rung}, part {self._part.index}, AR {call.ar}, output {name}",
                    remedy="`qairt cache verify` finds damaged files; if there are none, check this part's encodings",
                )
            if not self._is_reported:
                continue
            deviation = self._deviations.setdefault((way, call.ar, name), Deviation(name))
            deviation.add(self._text.truth(name, call), measured, call.past)
            if name in cpu_outputs:
                deviation.add_cpu(rows(name, cpu_outputs[name], call.new), measured, graph.step(name))
