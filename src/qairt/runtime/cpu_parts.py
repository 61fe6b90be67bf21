"""Opening parts on ONNX Runtime's CPU provider: as many at a time as there are cores, each with one copy of its weights
for all ARs."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for

from qairt.machine import available_cores
from qairt.runtime.cpu import CpuPart
from qairt.runtime.parts import PartGraph
from qairt.runtime.shared_weights import SharedWeights
from qairt.runtime.stored import Array


class CpuParts:
    """An `Opener`. Weights of parts that were closed are held until `release`, for their graphs of other ARs."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._weights = SharedWeights()

    def __call__(self, part: PartGraph) -> _OpeningPart:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(available_cores(), thread_name_prefix="open-part")
        return _OpeningPart(self._pool.submit(CpuPart, part, weights=self._weights))

    def release(self) -> None:
        """Free the weights of parts that are closed."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pool, self._weights = None, SharedWeights()


class _OpeningPart:
    """A `PartRunner` that another thread opens."""

    def __init__(self, opening: Future[CpuPart]) -> None:
        self._opening = opening

    def ready(self) -> None:
        """
        Raises:
            GraphError: as `CpuPart`.
        """
        self._opening.result()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._opening.result().run(inputs)

    def close(self) -> None:
        if not self._opening.cancel():
            wait_for([self._opening])
            if self._opening.exception() is None:
                self._opening.result().close()
