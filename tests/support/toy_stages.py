"""Toy stages for the engine's tests: they write small text files, and can be slow, fail or crash on request."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from qairt.engine.axes import Coord, value_of, without
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
from qairt.errors import GraphError


class SourceConfig(StageConfig):
    text: str = "hello"
    file: Path | None = None


class Text(StageOutput):
    text: Annotated[Path, Artifact("text")]


class TextInput(StageInput):
    text: Path


class Source(Stage[SourceConfig, StageInput, Text]):
    name = "source"

    def expand(self, batch: Batch, env: Env) -> Expansion:
        return Expansion([Task(coord=(), sources=(), estimate=Estimate(bytes=5, seconds=0.1, peak_ram=1000))])

    def cache_key_extras(self, env: Env):
        if self.config.file and self.config.file.is_fifo():
            self.config.file.read_bytes()  # planning waits for the writer
        return (("file", env.digest(self.name, self.config.file)),) if self.config.file else ()

    def run(self, task: Task, context: Context[SourceConfig, StageInput]) -> Text:
        path = context.directory / "text.txt"
        path.write_text(context.config.file.read_text() if context.config.file else context.config.text)
        return Text(text=path)


class FanConfig(StageConfig):
    not_in_key = StageConfig.not_in_key | {"arn", "hold_while"}

    arn: list[int] = [1, 2]
    suffix: str = ""
    fail_at: int | None = None
    fail_while: Path | None = None
    """Fails while this file exists."""
    hold_while: Path | None = None
    """Does not end while this file exists."""
    die_at: int | None = None
    busy: float = 0.0
    """Seconds of processor time that it takes."""
    sleep: float = 0.0
    counter: Path | None = None


class Fan(Stage[FanConfig, TextInput, Text]):
    name = "fan"
    axis_name = "ar"
    requires = ("source",)

    def labels(self, coord: Coord, env: Env) -> Sequence[int]:
        return self.config.arn

    def expand(self, batch: Batch, env: Env) -> Expansion:
        return Expansion(
            [
                Task(coord=(*coord, ("ar", ar)), sources=(coord,), estimate=Estimate(seconds=0.1, peak_ram=1000))
                for coord in batch
                for ar in self.config.arn
            ],
            token=tuple(self.config.arn),
        )

    def run(self, task: Task, context: Context[FanConfig, TextInput]) -> Text:
        ar, config = value_of(task.coord, "ar"), context.config
        print(f"making ar {ar}")
        if config.counter is not None:
            with config.counter.open("a") as file:
                file.write(f"{ar}\n")
        context.progress(0.5, "half way")
        while config.busy > time.process_time():  # a forked process begins at 0
            pass
        time.sleep(config.sleep)
        while config.hold_while is not None and config.hold_while.exists():
            time.sleep(0.01)
        if config.fail_at == ar and (config.fail_while is None or config.fail_while.exists()):
            raise GraphError("this node is not supported", where="node_7", remedy="leave it out")
        if config.die_at == ar:
            print("about to die", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        path = context.directory / "text.txt"
        path.write_text(context.input.text.read_text() + f" {ar}{config.suffix}")
        return Text(text=path)


class LaterConfig(StageConfig):
    sleep: float = 0.0


class Upper(Stage[LaterConfig, TextInput, Text]):
    name = "upper"

    def applies_to(self, coord: Coord) -> bool:
        return value_of(coord, "ar", 0) != 1

    def expand(self, batch: Batch, env: Env) -> Expansion:
        return Expansion([Task(coord=coord, sources=(coord,), estimate=Estimate(seconds=0.1)) for coord in batch])

    def run(self, task: Task, context: Context[LaterConfig, TextInput]) -> Text:
        time.sleep(context.config.sleep)
        path = context.directory / "text.txt"
        path.write_text(context.input.text.read_text().upper())
        return Text(text=path)


class Joined(StageOutput):
    joined: Annotated[Path, Artifact("joined")]


class JoinConfig(StageConfig):
    suffix: str = ""


class Join(Stage[JoinConfig, TextInput, Joined]):
    name = "join"
    merges = ("ar",)

    def expand(self, batch: Batch, env: Env) -> Expansion:
        together: dict[Coord, list[Coord]] = {}
        for coord in batch:
            together.setdefault(without(coord, self.merges), []).append(coord)
        return Expansion([Task(coord=coord, sources=tuple(found)) for coord, found in together.items()])

    def run(self, task: Task, context: Context[JoinConfig, TextInput]) -> Joined:
        path = context.directory / "joined.txt"
        path.write_text("|".join(source.text.read_text() for source in context.inputs.values()) + context.config.suffix)
        return Joined(joined=path)


class PublishedJoin(Join):
    """Its result also lies under a plain name, in nested folders."""

    name = "published_join"

    def publish(self, items: Batch, directory: Path) -> None:
        for coord, item in items.items():
            folder = directory / "nested" / f"of_{len(coord)}"
            folder.mkdir(parents=True)
            (folder / "joined.txt").write_bytes(item.output.joined.read_bytes())


class ChanceConfig(StageConfig):
    not_in_key = StageConfig.not_in_key | {"said_by"}

    said_by: Path


class Chance(Stage[ChanceConfig, StageInput, Text]):
    """Like a stage that is not deterministic: what it makes is not in its key."""

    name = "source"

    def expand(self, batch: Batch, env: Env) -> Expansion:
        return Expansion([Task(coord=(), sources=(), estimate=Estimate(bytes=5, seconds=0.1, peak_ram=1000))])

    def run(self, task: Task, context: Context[ChanceConfig, StageInput]) -> Text:
        path = context.directory / "text.txt"
        path.write_text(context.config.said_by.read_text())
        return Text(text=path)


class LookFirst(Fan):
    """A fan that must read an artifact to describe its work."""

    name = "look_first"

    def dry_expand(self, batch: Batch, env: Env) -> Expansion:
        return super().expand(batch, env)

    def expand(self, batch: Batch, env: Env) -> Expansion:
        (item,) = batch.values()
        letters = len(item.output.text.read_text())
        tasks = super().expand(batch, env).tasks
        return Expansion([task.model_copy(update={"params": {"letters": letters}}) for task in tasks])

    def run(self, task: Task, context: Context[FanConfig, TextInput]) -> Text:
        path = context.directory / "text.txt"
        path.write_text(f"{task.params['letters']} letters")
        return Text(text=path)
