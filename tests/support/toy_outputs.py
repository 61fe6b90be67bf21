"""A toy stage that writes predictions and pictures."""

from __future__ import annotations

import json

import toy_stages as toy

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

    def write_predictions(self, items: Batch, place: OutputContext) -> None:
        self.made.append("prediction")
        place.progress(0.5, "speaking")
        (item,) = items.values()
        text = item.output.text.read_text()
        clean = text.replace(" <|end|>", "") if place.model.prediction.strip_special_tokens else text
        row = json.dumps({"text_raw": text, "text_clean": clean})
        (place.directory / "predictions.jsonl").write_text(row + "\n")

    def write_visualization(self, items: Batch, place: OutputContext) -> None:
        self.made.append("visualization")
        if self.config.fail_drawing == "ours":
            raise GraphError("there is nothing to draw", where="node_7")
        if self.config.fail_drawing == "theirs":
            raise ZeroDivisionError("division by zero")
        for number in range(self.config.pictures):
            (place.directory / f"words_{number}.svg").write_text(PICTURE.format(number))
        if place.predictions is not None:
            said = (place.predictions / "predictions.jsonl").read_text()
            (place.directory / "predictions.md").write_text(f"# said\n{said}")
