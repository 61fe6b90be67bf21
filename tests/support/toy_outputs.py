"""A toy stage that writes predictions and pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_stages as toy

from qairt.engine.pipeline import Pipeline
from qairt.engine.run.options import RunOptions
from qairt.engine.stage import Batch, Context, Env, Expansion, OutputContext, Stage, Task
from qairt.errors import GraphError

PICTURE = '<svg xmlns="http://www.w3.org/2000/svg"><title>{}</title></svg>\n'


class SpeakerConfig(toy.StageConfig):
    word: str = "hi"
    fail_drawing: str = ""
    """`ours` or `theirs`: how drawing fails."""
    pictures: int = 1


class Speaker(Stage[SpeakerConfig, toy.TextInput, toy.Text]):
    """Repeats its input; `made` records each write."""

    name = "speaker"
    requires = ("source",)
    made: list[str] = []

    def expand(self, batch: Batch, env: Env) -> Expansion:
        return Expansion([Task(coord=coord, sources=(coord,)) for coord in batch])

    def run(self, task: Task, context: Context[SpeakerConfig, toy.TextInput]) -> toy.Text:
        path = context.directory / "text.txt"
        path.write_text(f"{context.input.text.read_text()} {context.config.word} <|end|>")
        return toy.Text(text=path)

    def write_predictions(self, items: Batch, context: OutputContext) -> None:
        self.made.append("prediction")
        context.progress(0.5, "speaking")
        (item,) = items.values()
        text = item.output.text.read_text()
        clean = text.replace(" <|end|>", "") if context.model.prediction.strip_special_tokens else text
        row = json.dumps({"text_raw": text, "text_clean": clean})
        (context.directory / "predictions.jsonl").write_text(row + "\n")

    def write_visualization(self, items: Batch, context: OutputContext) -> None:
        self.made.append("visualization")
        if self.config.fail_drawing == "ours":
            raise GraphError("there is nothing to draw", where="node_7")
        if self.config.fail_drawing == "theirs":
            raise ZeroDivisionError("division by zero")
        for number in range(self.config.pictures):
            (context.directory / f"words_{number}.svg").write_text(PICTURE.format(number))
        if context.predictions is not None:
            said = (context.predictions / "predictions.jsonl").read_text()
            (context.directory / "predictions.md").write_text(f"# said\n{said}")


INLINE = RunOptions(executor="inline", memory=10**9, jobs=1)


@pytest.fixture
def drawings() -> Iterator[list[str]]:
    Speaker.made.clear()
    yield Speaker.made
    Speaker.made.clear()


def speaking(
    folder: Path, output: dict | None = None, *, text: str = "hello", model: str = "toy_1b", **config
) -> Pipeline:
    speaker = Speaker(SpeakerConfig.model_validate({**config, "output": output or {}}))
    return Pipeline([toy.Source(toy.SourceConfig(text=text)), speaker], folder, model=model)


def run_inline(made: Pipeline) -> Pipeline:
    return made.construct(INLINE)


def files_outside_the_cache(folder: Path) -> list[str]:
    """All that lies in a cache directory beside its work."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if not name.startswith("pipeline_state/"))


PREDICTION = {"prediction": {"enable": True}}
PICTURES = {"visualization": {"enable": True}}
"""Drawn at the end of every run."""
