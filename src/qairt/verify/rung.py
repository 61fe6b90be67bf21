"""Measuring one rung: every part's graph on the same text, isolated and chained."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from qairt.amounts import duration
from qairt.errors import QairtError
from qairt.model.names import PAST
from qairt.model.parts import Part
from qairt.notify import Notify
from qairt.runtime.stored import Floats
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


@dataclass
class MeasuredText:
    """A text that a rung's graphs run on, and how far they are from the float model on it."""

    name: str
    """Empty for the only one."""
    text: ReferenceText
    calls: Sequence[GraphCall]
    """How the chained parts read it: from the largest AR to smaller ones."""
    outputs: list[OutputFidelity] = field(default_factory=list)
    hidden: dict[GraphCall, dict[str, Floats]] = field(default_factory=dict)
    """By call, the outputs of the part before."""


def measure(graphs: RungGraphs, texts: Sequence[MeasuredText], *, only: int | None, notify: Notify) -> None:
    """Run a rung's graphs, one in memory at a time: all calls of a part come before the next part.

    Each part runs isolated, on the float model's inputs, once per AR; and chained, on the outputs of the part before
    it in the same call and on its own keys and values of the earlier calls.

    Args:
        texts: get their `outputs`; a graph is opened once for all of them.
        only: report this part alone; those before it still run, to feed it.

    Raises:
        QairtError: an output holds NaN or infinity; names it, the rung and the part.
    """
    for part in graphs.parts if only is None else graphs.parts[:only]:
        measured = [_MeasuredPart(graphs, part, text, is_reported=only in (None, part.index)) for text in texts]
        _run(graphs, part, measured, notify)
        for each in measured:
            each.text.outputs += each.results()


def _run(graphs: RungGraphs, part: Part, measured: Sequence[_MeasuredPart], notify: Notify) -> None:
    """All calls of all texts, AR by AR."""
    for ar in sorted(graphs.ars, reverse=True):
        used = [each for each in measured if each.uses(ar)]
        if not used:
            continue
        name = f"{graphs.rung}: part {part.index} of {part.of}, AR {ar}"
        notify(name)
        graph = graphs.open(part, ar)
        try:
            with _notify_when_slow(f"{name}: ready", notify):
                graph.ready()
            for each in used:
                each.run(graph, ar, f"{name}, {each.text.name}" if each.text.name else name, notify)
        finally:
            graph.close()


@contextmanager
def _notify_when_slow(what: str, notify: Notify) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    if seconds >= _SLOW_S:
        notify(f"{what} after {duration(seconds)}")


class _MeasuredPart:
    """The calls of one part on one text, and how far its outputs are from the float model's."""

    def __init__(self, graphs: RungGraphs, part: Part, text: MeasuredText, *, is_reported: bool) -> None:
        self.text = text
        self._graphs = graphs
        self._part = part
        self._text = text.text
        self._is_reported = is_reported
        self._cache = PartCache()
        self._deviations: dict[tuple[Way, int, str], Deviation] = {}

    def uses(self, ar: int) -> bool:
        """Whether the graph of this AR runs."""
        return self._is_reported or any(call.ar == ar for call in self.text.calls)

    def run(self, graph: GraphRunner, ar: int, name: str, notify: Notify) -> None:
        """All calls of one AR.

        Args:
            name: what runs, for the user.
        """
        if self._is_reported:
            with _notify_when_slow(f"{name}: ran isolated", notify):
                self._run_isolated(graph, self._text.isolated_call(ar, self._graphs.cl))
        calls = [call for call in self.text.calls if call.ar == ar]
        for number, call in enumerate(calls, start=1):
            with _notify_when_slow(f"{name}: ran call {number} of {len(calls)}", notify):
                self.text.hidden[call] = self._run_chained(graph, call, self.text.hidden.get(call, {}))

    def results(self) -> list[OutputFidelity]:
        return [deviation.result(self._part.index, ar, way) for (way, ar, _), deviation in self._deviations.items()]

    def _run_isolated(self, graph: GraphRunner, call: GraphCall) -> None:
        cl = self._graphs.cl
        inputs = self._text.runtime_inputs(call, cl)
        if not self._part.has_embedding:
            inputs |= self._text.entering(self._part.enters, call)
        inputs |= {name: self._text.past(name, call, cl) for name in graph.inputs if PAST.match(name)}
        inputs |= self._text.branches_of(graph.inputs)
        self._compare("isolated", call, graph, graph.run(inputs))

    def _run_chained(self, graph: GraphRunner, call: GraphCall, hidden: dict[str, Floats]) -> dict[str, Floats]:
        """Returns the inputs of the next part."""
        cl = self._graphs.cl
        inputs = self._text.runtime_inputs(call, cl) | hidden | self._text.branches_of(graph.inputs)
        for name, shape in graph.inputs.items():
            if PAST.match(name):
                inputs[name] = self._cache.past(name, shape, self._text.slots(name, call, cl), call)
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
