"""Parts on the HTP emulator: the vendor's compiler compiles and emulates them here, each in a child process.

Slow: it checks the compiler's output; it is no way to generate text.
"""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from qairt.child_process import python_command, python_environment
from qairt.errors import ToolchainError
from qairt.files import log_tail
from qairt.model.config import DecoderConfig
from qairt.notify import Notify
from qairt.runtime.chain import ChainObserver, PartChain
from qairt.runtime.comparison import CpuComparison
from qairt.runtime.parts import PartGraph
from qairt.runtime.pipe_protocol import receive, send
from qairt.runtime.stored import Array
from qairt.toolchain.qnn import wheel
from qairt.toolchain.soc import Soc
from qairt.toolchain.vendor_process import end

MAX_NEW_TOKENS = 4
"""The default number of tokens to generate."""


class EmulatedPart:
    """A `PartRunner` in a child process, because the compiler may crash. `ready` waits for the compilation."""

    def __init__(
        self,
        part: PartGraph,
        *,
        soc: Soc,
        optimization_level: int = 3,
        extended_udma: bool = False,
        threads: int = 1,
    ) -> None:
        """
        Args:
            soc: its `vtcm_mb` is what the graph may use.
        """
        self.part = part
        options = {
            "chip": soc.name,
            "vtcm_mb": soc.vtcm_mb,
            "optimization_level": optimization_level,
            "extended_udma": extended_udma,
        }
        self._log: IO[bytes] = tempfile.NamedTemporaryFile(prefix="qairt-emulator-", suffix=".log")  # noqa: SIM115
        self._child = subprocess.Popen(
            python_command("-m", "qairt.runtime.part_process", str(part.onnx), json.dumps(options)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=python_environment() | {"OMP_NUM_THREADS": str(threads), "QAIRT_THREADS": str(threads)},
            start_new_session=True,
        )
        self.pid = self._child.pid
        self._ready = False

    def ready(self) -> None:
        """
        Raises:
            ToolchainError: the compiler rejected the graph, or its process died.
        """
        if not self._ready:
            self._receive()
            self._ready = True

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.ready()
        assert self._child.stdin is not None
        try:
            send(self._child.stdin, inputs)
        except BrokenPipeError:
            raise self._died() from None
        return self._receive()

    def close(self) -> None:
        end(self._child, self._log)

    def _receive(self) -> dict[str, Array]:
        assert self._child.stdout is not None
        try:
            return receive(self._child.stdout)
        except EOFError:
            raise self._died() from None
        except ToolchainError as error:
            raise ToolchainError(
                error.what, where=error.where or self.part.signature.name, remedy=error.remedy
            ) from None

    def _died(self) -> ToolchainError:
        code = self._child.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        out_of_memory = "most likely the machine ran out of memory: use --target cpu, or increase num_splits"
        tail = " / ".join(log_tail(Path(self._log.name), lines=3))
        died = ToolchainError(
            f"the emulator's process {how}" + (f": {tail}" if tail else ""),
            where=self.part.signature.name,
            remedy=out_of_memory if code == -signal.SIGKILL else "the compiler crashed: use --target cpu",
        )
        died.out_of_memory = code == -signal.SIGKILL
        return died


class EmulatedGenerator(PartChain):
    """A `Generator` on the emulator, which reports its progress and compares itself with the CPU."""

    def __init__(
        self,
        parts_by_ar: Mapping[int, Sequence[PartGraph]],
        config: DecoderConfig,
        *,
        notify: Notify,
        soc: Soc,
        compare: bool = True,
        branches: Mapping[str, Array] | None = None,
    ) -> None:
        """
        Args:
            parts_by_ar: by AR, the parts in order.
            config: for the rotary embedding.
            soc: the chip to compile for.
            notify: gets progress, one line at a time.
            compare: also run every part on the CPU, on the same inputs.
            branches: the LoRA branches' inputs as stored integers, by name; those of the base when None.

        Raises:
            GraphError: the parts do not form a chain; names the graph.
            ToolchainNotAvailable: the compiler's wheel is missing or too old.
        """
        wheel.require()
        self.comparison = CpuComparison() if compare else None
        """The comparison with ONNX Runtime's CPU provider."""
        super().__init__(
            parts_by_ar,
            config,
            partial(EmulatedPart, soc=soc),
            observer=_Progress(notify, self.comparison),
            branches=branches,
        )


class _Progress(ChainObserver):
    def __init__(self, notify: Notify, comparison: CpuComparison | None) -> None:
        self._notify = notify
        self._comparison = comparison
        self._timed: set[int] = set()

    def opening(self, ar: int, parts: int) -> None:
        self._notify(f"AR {ar}: compiling {parts} parts for the emulator")

    def opened(self, ar: int, seconds: float) -> None:
        self._notify(f"AR {ar}: compiled in {seconds:.0f} s")

    def ran(self, part: PartGraph, inputs: Mapping[str, Array], outputs: Mapping[str, Array], count: int) -> None:
        if self._comparison is not None:
            self._comparison.ran(part, inputs, outputs, count)

    def called(self, ar: int, count: int, seconds: float) -> None:
        if ar not in self._timed:
            self._timed.add(ar)
            self._notify(
                f"AR {ar}: {seconds:.1f} s per token" if ar == 1 else f"AR {ar}: {seconds:.1f} s for {count} tokens"
            )
