"""The child process that emulates one part: `python -P -m qairt.runtime.part_process ONNX OPTIONS`, with the compiler's
options as JSON: `{"chip": "SM8650", "vtcm_mb": 8, "optimization_level": 3, "extended_udma": false}`.

It reads inputs from standard input and writes outputs to standard output (`qairt.runtime.pipe_protocol`); an empty
message comes first, when it is ready. The output of the vendor's libraries goes to standard error. It ends when its
parent does.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO


def main(onnx: Path, options: str) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: also while native code holds the interpreter
    outputs = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    from qairt.errors import QairtError
    from qairt.runtime.pipe_protocol import send_error

    try:
        serve(onnx, options, sys.stdin.buffer, outputs)
    except QairtError as error:
        send_error(outputs, error)
    except (EOFError, BrokenPipeError):
        pass
    sys.stderr.flush()
    os._exit(0)  # vendor libraries tear down badly


def serve(onnx: Path, options: str, inputs: BinaryIO, outputs: BinaryIO) -> None:
    """Compile the part, then run it on every message until the input ends."""
    import json
    from dataclasses import replace

    from qairt.runtime.pipe_protocol import receive, send
    from qairt.toolchain.qnn.emulator import emulator_session
    from qairt.toolchain.soc import SOCS

    threads = int(os.environ.get("QAIRT_THREADS", "1"))
    chosen = json.loads(options)
    soc = replace(SOCS[chosen.pop("chip")], vtcm_mb=chosen.pop("vtcm_mb"))
    session = emulator_session(onnx, soc=soc, threads=threads, **chosen)
    names = [output.name for output in session.get_outputs()]
    send(outputs, {})
    while True:
        send(outputs, dict(zip(names, session.run(names, receive(inputs)), strict=True)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
