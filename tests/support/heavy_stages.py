"""Stages that load the machine while a screen is shown: one loads large ONNX models, one prints thousands of lines/s.

`python -m heavy_stages …` runs qairt's command line with these stages.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

from qairt.engine.axes import Coord
from qairt.engine.stage import (
    Artifact,
    Batch,
    Context,
    Env,
    Estimate,
    Expansion,
    Stage,
    StageConfig,
    StageInput,
    StageOutput,
    Task,
)

WORDS = "ctx-gen  [INFO ] graph llama_s3: finalizing op"


class Note(StageOutput):
    text: Annotated[Path, Artifact("text")]


class HeavyConfig(StageConfig):
    seconds: float = 30.0
    items: int = 2
    megabytes: int = 420
    rate: int = 2000
    """Lines per second."""


class _Heavy(Stage[HeavyConfig, StageInput, Note]):
    axis_name = "ar"

    def labels(self, coord: Coord, env: Env) -> range:
        return range(1, self.config.items + 1)

    def expand(self, batch: Batch, env: Env) -> Expansion:
        estimate = Estimate(bytes=100, seconds=self.config.seconds, peak_ram=1000)
        return Expansion(
            [Task(coord=(("ar", ar),), sources=(), estimate=estimate) for ar in self.labels((), env)],
            token=self.config.items,
        )

    def run(self, task: Task, context: Context[HeavyConfig, StageInput]) -> Note:
        path = context.directory / "text.txt"
        path.write_text(self.work(context))
        return Note(text=path)

    def work(self, context: Context[HeavyConfig, StageInput]) -> str:
        raise NotImplementedError


class OnnxLoad(_Heavy):
    """`onnx.load`, shape inference and serialization of one model, over and over."""

    name = "onnx_load"

    def work(self, context: Context[HeavyConfig, StageInput]) -> str:
        import numpy as np
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        rows = 13 * 1024
        count = -(-context.config.megabytes * 10**6 // (rows * 1024 * 4))
        weights = [numpy_helper.from_array(np.zeros((rows, 1024), np.float32), f"w{n}") for n in range(count)]
        nodes = [helper.make_node("Gather", [f"w{n}", "ids"], [f"y{n}"], axis=0) for n in range(count)]
        ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 8])
        outputs = [helper.make_tensor_value_info(f"y{n}", TensorProto.FLOAT, None) for n in range(count)]
        model = helper.make_model(helper.make_graph(nodes, "large", [ids], outputs, weights))
        path = context.directory / "large.onnx"
        onnx.save(model, str(path))
        size, done = path.stat().st_size, 0
        until = time.monotonic() + context.config.seconds
        while time.monotonic() < until:
            onnx.shape_inference.infer_shapes(onnx.load(str(path))).SerializeToString()
            done += 1
            print(f"loaded {size / 1e6:.0f} MB, {done} times", flush=True)
        path.unlink()
        return f"{size} bytes, {done} times"


class LogStorm(_Heavy):
    """Numbered lines at a steady rate, written in batches as tools do."""

    name = "log_storm"

    def work(self, context: Context[HeavyConfig, StageInput]) -> str:
        rate, seconds = context.config.rate, context.config.seconds
        began, number = time.monotonic(), 0
        while number < rate * seconds:
            due = min(int(rate * (time.monotonic() - began)) + 1, int(rate * seconds))
            sys.stdout.write("".join(f"{WORDS} {each}\n" for each in range(number, due)))
            sys.stdout.flush()
            number = due
            time.sleep(0.005)
        return f"{number} lines"


def write_heavy_recipe(folder: Path, stage: str, **settings: float) -> Path:
    """A recipe of one heavy stage."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stage}.yaml"
    path.write_text(
        f"model_id_or_path: nothing\ncache_dir: {folder / 'cache'}\nstages:\n  {stage}: "
        f"{{{', '.join(f'{name}: {value}' for name, value in settings.items())}}}\n"
    )
    return path


if __name__ == "__main__":
    import heavy_stages

    from qairt.cli.main import main
    from qairt.engine.stage import register_stage

    register_stage(heavy_stages.OnnxLoad)
    register_stage(heavy_stages.LogStorm)
    sys.exit(main(sys.argv[1:]))
