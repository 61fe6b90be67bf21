"""A toy side branch: it reads the source's output, and no stage reads its own."""

from __future__ import annotations

from pathlib import Path

import toy_stages as toy

from qairt.engine.stage import Batch, Context, Env, Estimate, Expansion, Stage, StageConfig, StageOutput, Task


class MeasureConfig(StageConfig):
    how: str = "long"


class Measured(StageOutput):
    text: Path
    """Named like what stages after it take."""


class Measure(Stage[MeasureConfig, toy.TextInput, Measured]):
    """Counts letters."""

    name = "measure"
    requires = ("source",)
    is_side_branch = True

    def expand(self, batch: Batch, env: Env) -> Expansion:
        estimate = Estimate(bytes=1, seconds=0.1, peak_ram=1000, alone=True)
        return Expansion([Task(coord=coord, sources=(coord,), estimate=estimate) for coord in batch])

    def run(self, task: Task, context: Context[MeasureConfig, toy.TextInput]) -> Measured:
        path = context.directory / "measured.txt"
        path.write_text(f"{len(context.input.text.read_text())} {context.config.how}")
        return Measured(text=path)
