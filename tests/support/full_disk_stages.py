"""A stage that writes more than a small disk holds, through each library that writes files for us."""

from __future__ import annotations

from pathlib import Path

import toy_stages as toy

from qairt.engine.stage import Context, Expansion, Stage, StageConfig, StageInput, Task
from qairt.toolchain.vendor_process import failure, run

BYTES = 20_000_000


def write(path: Path, writer: str) -> None:
    """Write about `BYTES` to `path`."""
    import numpy as np

    match writer:
        case "python":
            path.write_bytes(bytes(BYTES))
        case "numpy":
            np.save(path, np.zeros(BYTES // 8))
        case "torch":
            import torch

            torch.save(torch.zeros(BYTES // 4), path)
        case "safetensors":
            from safetensors.numpy import save_file

            save_file({"weight": np.zeros(BYTES // 8)}, path)
        case "onnx":
            import onnx
            from onnx import helper, numpy_helper

            weight = numpy_helper.from_array(np.zeros(BYTES // 4, dtype="f4"), "a")
            output = helper.make_tensor_value_info("b", 1, [BYTES // 4])
            graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "g", [], [output], [weight])
            onnx.save(helper.make_model(graph), path, save_as_external_data=True, location="weights.bin")
        case "compiler":
            command = ["dd", "if=/dev/zero", f"of={path}", "bs=1M", f"count={BYTES >> 20}"]
            raise failure("the compiler", run(command, cwd=path.parent, env={"PATH": "/usr/bin:/bin"}), where="x.bin")


class WritesConfig(StageConfig):
    writer: str


class Writes(Stage[WritesConfig, StageInput, toy.Text]):
    name = "writes"

    def expand(self, batch, env) -> Expansion:
        return Expansion([Task(coord=(), sources=())])

    def run(self, task: Task, context: Context[WritesConfig, StageInput]) -> toy.Text:
        write(context.directory / "text.txt", context.config.writer)
        return toy.Text(text=context.directory / "text.txt")
