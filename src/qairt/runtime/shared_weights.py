"""Float weights that graphs of one part share, whatever their AR and context length."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qairt.runtime.dequantized import Floats, Source
    from qairt.runtime.float_weights import FloatWeightGraph


class SharedWeights:
    """Of each part, the weights of the graph that was opened last."""

    def __init__(self) -> None:
        self._of_part: dict[int, dict[Source, Floats]] = {}
        self._lock = Lock()
        """Parts that open at the same time look for memory one after the other."""

    def of(self, part: int, graph: FloatWeightGraph, *, if_they_fit: bool) -> dict[str, Floats] | None:
        """The weights of a graph by name.

        Args:
            part: its number.
            if_they_fit: None if those that must be made take half of the free memory, or more.

        Raises:
            Exception: they cannot be read: GraphError, or the system's.
        """
        import psutil

        with self._lock:
            held = self._of_part.pop(part, {})
            held = {source: held[source] for source in graph.sources.values() if source in held}
            if if_they_fit and 2 * graph.bytes_beside(held) >= psutil.virtual_memory().available:
                return None
            made = self._of_part[part] = graph.weights(held)
        return {name: made[source] for name, source in graph.sources.items()}
