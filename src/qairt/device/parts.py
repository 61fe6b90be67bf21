"""Parts on a device: each call pushes a part's inputs, runs its graph in the binary on the NPU, and pulls its outputs.

Slow, for a call loads the binary anew: a check of what the device computes, not a way to generate text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qairt.device.delivery import Folder
from qairt.device.device_run import DeviceRun
from qairt.device.failure import how_it_ended, last_words, remedy_for
from qairt.device.genie import BUNDLE
from qairt.device.sdk_files import NET_RUN, TOOL
from qairt.errors import DeviceError, GraphError
from qairt.graph.tensors import TensorSpec
from qairt.runtime.parts import PartGraph
from qairt.runtime.stored import Array

_SKIPPED = "__"
"""In the list of input lists: this graph of the binary is not run."""


@dataclass(frozen=True)
class GraphLocation:
    """Where a graph is."""

    binary: str
    """The file in the bundle."""
    place: int
    """Among the binary's graphs, from 0."""
    of: int
    """Graphs in the binary."""


class DeviceParts:
    """Opens the parts of a bundle that is on a device."""

    def __init__(
        self,
        folder: Folder,
        graphs: Mapping[tuple[int, int, int], GraphLocation],
        backend: str = "libQnnHtp.so",
        *,
        told: str = "",
        held: object = None,
    ) -> None:
        """
        Args:
            folder: holds the bundle and `qnn-net-run`.
            graphs: by AR, CL and part.
            backend: the library beside the program.
            told: what computes there: device, chip and runtime.
            held: what must live as long as this.
        """
        self.told = told
        self._held = held
        self._folder = folder
        self._graphs = graphs
        self._backend = backend

    def open(self, part: PartGraph) -> DevicePart:
        """
        Raises:
            GraphError: no binary of the bundle has this graph.
        """
        signature = part.signature
        graph = self._graphs.get((signature.ar, signature.cl, signature.part))
        if graph is None:
            raise GraphError(
                "no binary of the bundle has this graph",
                where=signature.name,
                remedy="`qairt run` makes the bundle of these parts",
            )
        return DevicePart(part, graph, self._folder, self._backend)


class DevicePart:
    """A `PartRunner` on a device, by the SDK's `qnn-net-run`, inputs and outputs as the graph stores them."""

    def __init__(self, part: PartGraph, graph: GraphLocation, folder: Folder, backend: str) -> None:
        self.part = part
        self._backend = backend
        self._graph = graph
        self._folder = folder

    def ready(self) -> None:
        pass

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """
        Raises:
            DeviceError: the program failed, an output is missing or of another size, or the device was lost.
        """
        signature = self.part.signature
        with DeviceRun(self._folder) as run:
            data = {f"{spec.name}.raw": _bytes(inputs[spec.name], spec) for spec in signature.inputs}
            line = " ".join(f"{spec.name}:=../{run.name}/{spec.name}.raw" for spec in signature.inputs)
            run.write(data | {"list.txt": f"{line}\n".encode()})
            lists = [_SKIPPED] * self._graph.of
            lists[self._graph.place] = f"../{run.name}/list.txt"
            finished = run.program(
                NET_RUN,
                [
                    *("--backend", f"../{TOOL}/{self._backend}"),
                    *("--retrieve_context", self._graph.binary),
                    *("--input_list", ",".join(lists)),
                    *("--output_dir", f"../{run.name}/out"),
                    "--use_native_input_files",
                    "--use_native_output_files",
                ],
                inside=BUNDLE,
            )
            if finished.code:
                log = (finished.out + finished.err).decode(errors="replace")
                what = f"{NET_RUN} {how_it_ended(finished)} on the device{last_words(log)}"
                raise self._fault(what, remedy_for(finished, log))
            return self._outputs(run)

    def close(self) -> None:
        pass

    def _outputs(self, run: DeviceRun) -> dict[str, Array]:
        """All outputs, by one command."""
        found: dict[str, tuple[str, int]] = {}
        for name, count in run.sizes("out").items():
            plain = name.rpartition("/")[2].removesuffix(".raw").removesuffix("_native")
            found[plain] = (name, count)
        specs = self.part.signature.outputs
        for spec in specs:
            if spec.name not in found:
                there = ", ".join(sorted(found)) or "nothing"
                raise self._fault(f"{NET_RUN} gave no output {spec.name}, but {there}")
            if found[spec.name][1] != _size(spec):
                raise self._fault(
                    f"the output {spec.name} has {found[spec.name][1]:,} bytes, {_size(spec):,} were expected"
                    f" ({spec.dtype} {list(spec.shape)})"
                )
        data = run.read_all([found[spec.name][0] for spec in specs])
        results: dict[str, Array] = {}
        start = 0
        for spec in specs:
            piece = data[start : start + _size(spec)]
            results[spec.name] = np.frombuffer(piece, spec.dtype).reshape(spec.shape)
            start += _size(spec)
        return results

    def _fault(self, what: str, remedy: str | None = None) -> DeviceError:
        return DeviceError(
            what,
            where=f"{self._folder.device.name}, {self.part.signature.name}",
            remedy=remedy or "bundle and parts must be of one run, and the SDK at least as new as the compiler",
        )


def _bytes(values: Array, spec: TensorSpec) -> bytes:
    return np.ascontiguousarray(values, spec.dtype).tobytes()


def _size(spec: TensorSpec) -> int:
    return math.prod(spec.shape) * np.dtype(spec.dtype).itemsize
