"""One rung of the ladder: every part's graph on the same text, each by itself and chained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

import numpy as np

from qairt.amounts import duration
from qairt.errors import QairtError
from qairt.model.parts import Part
from qairt.runtime.cache import PAST
from qairt.runtime.stored import Array, Floats
from qairt.verify.graph import Graph, OpenGraph
from qairt.verify.measure import Deviation, rows
from qairt.verify.result import OutputFidelity, Way
from qairt.verify.text import Call, Held, Text

Say = Callable[[str], None]

_SLOW_S = 3.0


def measure(
    rung: str,
    parts: Sequence[Part],
    ars: Sequence[int],
    open_graph: OpenGraph,
    text: Text,
    calls: Sequence[Call],
    cl: int,
    *,
    only: int | None,
    say: Say,
) -> list[OutputFidelity]:
    """Run a rung's graphs, one in memory at a time: all calls of a part come before the next part.

    Each part runs twice over: isolated, on the float model's inputs, once for each AR; and chained, on what the part
    before gave in the same call and with the keys and values it gave itself in the calls before.

    Args:
        parts: in order.
        ars: of the graphs there are.
        calls: how the chained parts read the text.
        only: report this part alone; the ones before it still run, to feed it.

    Raises:
        QairtError: an output holds NaN or infinity; names it, the rung and the part.
    """
    found: list[OutputFidelity] = []
    handed_on: dict[Call, dict[str, Floats]] = {call: {} for call in calls}
    for part in parts if only is None else parts[:only]:
        reported = only in (None, part.index)
        runner = _Part(rung, part, text, cl, reported)
        groups = [(ar, list(group)) for ar, group in groupby(calls, lambda call: call.ar)]
        chained = {ar for ar, _ in groups}
        groups += [(ar, []) for ar in sorted(ars, reverse=True) if ar not in chained and reported]
        alone: set[int] = set()
        for ar, group in groups:
            name = f"{rung}: part {part.index} of {part.of}, AR {ar}"
            say(name)
            graph = open_graph(part, ar)
            try:
                with _said_when_slow(f"{name}: ready", say):
                    graph.ready()
                if ar not in alone and reported:
                    alone.add(ar)
                    with _said_when_slow(f"{name}: ran isolated", say):
                        runner.isolated(graph, text.isolated_call(ar, cl))
                for place, call in enumerate(group):
                    with _said_when_slow(f"{name}: ran call {place + 1} of {len(group)}", say):
                        handed_on[call] = runner.chained(graph, call, handed_on[call])
            finally:
                graph.close()
        found += runner.results()
    return found


@contextmanager
def _said_when_slow(what: str, say: Say) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    if seconds >= _SLOW_S:
        say(f"{what} after {duration(seconds)}")


class _Part:
    """The calls of one part, and what they differ by."""

    def __init__(self, rung: str, part: Part, text: Text, cl: int, reported: bool) -> None:
        self._rung = rung
        self._part = part
        self._text = text
        self._cl = cl
        self._reported = reported
        self._held = Held()
        self._deviations: dict[tuple[Way, int, str], Deviation] = {}

    def isolated(self, graph: Graph, call: Call) -> None:
        inputs = self._text.made(call, self._cl)
        if not self._part.has_embedding:
            inputs |= self._text.entering(self._part.first_layer, call)
        inputs |= {name: self._text.past(name, call, self._cl) for name in graph.inputs if PAST.match(name)}
        self._compare("isolated", call, graph, graph.run(inputs))

    def chained(self, graph: Graph, call: Call, handed_on: dict[str, Floats]) -> dict[str, Floats]:
        """Returns what the next part takes."""
        inputs: dict[str, Array] = self._text.made(call, self._cl) | handed_on
        for name, shape in graph.inputs.items():
            if PAST.match(name):
                inputs[name] = self._held.past(name, shape, call, self._cl)
        outputs = graph.run(inputs)
        self._compare("chained", call, graph, outputs)
        self._held.append(outputs, call.new)
        return {name: values for name, values in outputs.items() if not PAST.match(name)}

    def results(self) -> list[OutputFidelity]:
        return [found.result(self._part.index, ar, way) for (way, ar, _), found in self._deviations.items()]

    def _compare(self, way: Way, call: Call, graph: Graph, outputs: dict[str, Floats]) -> None:
        for name, values in outputs.items():
            measured = rows(name, values, call.new)
            if not np.isfinite(measured).all():
                raise QairtError(
                    f"{int(measured.size - np.isfinite(measured).sum())} of {measured.size:,} values are NaN or"
                    f" infinite ({way})",
                    where=f"rung {self._rung}, part {self._part.index}, AR {call.ar}, output {name}",
                    remedy="`qairt cache verify` finds damaged files; else look at the encodings of this part",
                )
            if not self._reported:
                continue
            deviation = self._deviations.setdefault((way, call.ar, name), Deviation(name))
            deviation.add(self._text.truth(name, call), measured, call.past)
            beside = graph.beside()
            if name in beside:
                deviation.beside(rows(name, beside[name], call.new), measured)
