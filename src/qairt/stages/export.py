"""Stage 3: the decoder as ONNX with symbolic dimensions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from qairt.engine.stage import (
    Artifact,
    Batch,
    Context,
    Env,
    Estimate,
    Expansion,
    KeyFacts,
    OutputContext,
    Stage,
    StageConfig,
    StageInput,
    StageOutput,
    Task,
    register_stage,
)
from qairt.errors import ContractViolation
from qairt.files import link_or_copy, read_regular
from qairt.recipe.files import RecipeFile
from qairt.stages.facts import model_of, open_exported, require_file

if TYPE_CHECKING:
    from qairt.graph.foreign.adopt import Adopted

_ADOPTED = "the external graph, adopted"
WEIGHTS = "weights.bin"
"""The weights file that graphs refer to."""
ADOPTION = 3
"""Raised when the same external graph is adopted to another one."""
GRAPH_VERSION = 2
"""Raised when the same configuration is built into another graph."""


class ExportConfig(StageConfig):
    """Empty if quantization precedes it; `onnx` and `encodings` start from an external ONNX graph instead."""

    not_in_key = StageConfig.not_in_key | {"onnx", "encodings", "io_names"}

    onnx: Annotated[Path | None, RecipeFile()] = None
    encodings: Annotated[Path | None, RecipeFile()] = None
    io_names: dict[str, str] = Field(default_factory=dict)
    """The external graph's name of each input or output that is not found by itself, such as
    `past_key_{i}_in: cache.{i}.k`; `{i}` stands for the number of a layer."""

    @model_validator(mode="after")
    def _both_or_neither(self) -> ExportConfig:
        if (self.onnx is None) != (self.encodings is None):
            raise ValueError("onnx and encodings must be set together")
        if self.io_names and self.onnx is None:
            raise ValueError("io_names names the inputs and outputs of an external graph: set onnx and encodings too")
        return self


class ExportInput(StageInput):
    model: Path | None = None
    encodings: Path | None = None
    changed_weights: Path | None = None
    rotation: Path | None = None
    lora: Path | None = None
    branch_weights: Path | None = None


class ExportedModel(StageOutput):
    onnx: Annotated[Path, Artifact("ONNX")]
    weights: Path | None = None
    """Float32, one file. None if the graph only refers to its weights: each part gets its own from the model's files
    and from what quantization changed, see `qairt.stages.facts.open_exported`."""
    encodings: Annotated[Path, Artifact("encodings")]


@register_stage
class Export(Stage[ExportConfig, ExportInput, ExportedModel]):
    """Build the decoder's graph from its configuration.

    1. The graph is built, not traced: this takes about a second. It only refers to the weights; none is copied.
    2. With `onnx` and `encodings`, an external graph is adopted instead. No earlier stage is needed; with model_loading
       before it, the model's tokenizer, template and configuration belong to the result.
    """

    name = "export"
    imported_ahead = ("onnx_ir",)
    worth = "intermediate"

    def check(self, env: Env) -> None:
        for name in ("onnx", "encodings"):
            path: Path | None = getattr(self.config, name)
            if path is not None:
                require_file(env, f"stages.export.{name}", path)
        if self.config.onnx is None and "quantization" not in env.configs:
            raise ContractViolation(
                "there is no model to export",
                where="stages.export",
                remedy="add model_loading and quantization before it, or set its onnx and encodings",
            )
        if self.config.onnx is not None and "quantization" in env.configs:
            raise ContractViolation(
                "it has an external ONNX graph, but the recipe also loads a model",
                where="stages.export",
                remedy="remove model_loading and quantization, or onnx and encodings",
            )

    def check_files(self, env: Env) -> None:
        if self.config.onnx is None:
            return
        from qairt.graph.foreign.adopt import read_adopted

        onnx, encodings = self._external_paths()
        env.once(_ADOPTED, lambda: read_adopted(onnx, encodings, self.config.io_names))

    def notices(self, env: Env) -> Sequence[str]:
        graph = adopted_graph(env)
        if graph is None:
            return ()
        from qairt.graph.foreign.encodings import summarized

        return summarized(graph.given)

    def expand(self, batch: Batch, env: Env) -> Expansion:
        if self.config.onnx is not None:
            onnx, encodings = self._external_paths()
            size = sum(path.stat().st_size for path in _graph_files(onnx))
            paths = {"onnx": onnx, "encodings": encodings}
            estimate = Estimate(bytes=size, seconds=2 + 3 * size / 1e9, peak_ram=300_000_000 + 2 * size)
            return Expansion(
                [
                    Task(coord=coord, sources=(coord,) if batch else (), paths=paths, estimate=estimate)
                    for coord in batch or [()]
                ]
            )
        model = model_of(env)
        estimate = Estimate(bytes=2_000_000, seconds=2, peak_ram=300_000_000)
        return Expansion(
            [Task(coord=coord, sources=(coord,), paths={"model": model.source}, estimate=estimate) for coord in batch]
        )

    def facets_read(self) -> Collection[str]:
        return ()

    def cache_key_extras(self, env: Env) -> KeyFacts:
        if self.config.onnx is None:
            return (("graph_version", GRAPH_VERSION),)
        onnx, encodings = self._external_paths()
        _, *external = _graph_files(onnx)
        facts: KeyFacts = (
            ("onnx", env.digest(self.name, onnx)),
            ("encodings", env.digest(self.name, encodings)),
            ("external data", tuple((path.name, env.digest(self.name, path)) for path in external)),
            ("adoption", ADOPTION),
        )
        return (*facts, ("io_names", tuple(sorted(self.config.io_names.items())))) if self.config.io_names else facts

    def _external_paths(self) -> tuple[Path, Path]:
        return _required(self.config.onnx), _required(self.config.encodings)

    def run(self, task: Task, context: Context[ExportConfig, ExportInput]) -> ExportedModel:
        return _import_graph(task, context) if "onnx" in task.paths else _build_graph(task, context)

    def write_visualization(self, items: Batch, context: OutputContext) -> None:
        from qairt.stages.pictures.graphs import draw_operators

        (item,) = items.values()
        assert isinstance(item.output, ExportedModel)
        draw_operators("Operators of the whole model's graph", item.output.onnx, context.directory)


def is_external(env: Env) -> bool:
    """The recipe starts from an external ONNX graph, with or without a model beside it."""
    config = env.configs.get("export")
    return isinstance(config, ExportConfig) and config.onnx is not None


def adopted_graph(env: Env) -> Adopted | None:
    """The recipe's external graph as `run` will adopt it; None unless `check_files` has read it."""
    graph: Adopted | None = env.facts.get(_ADOPTED)
    return graph


def _build_graph(task: Task, context: Context[ExportConfig, ExportInput]) -> ExportedModel:
    from qairt.graph import files
    from qairt.graph.build import build_decoder
    from qairt.graph.weights_file import locations_of
    from qairt.model.config import DecoderConfig

    source = context.input
    decoder = DecoderConfig.model_validate_json(read_regular(_required(source.model)))
    weights = open_exported(
        task.paths["model"], decoder, source.changed_weights, source.rotation, source.branch_weights
    )
    output = _output_in(context.directory)
    lora = None
    if source.lora is not None:
        from qairt.quant.lora_record import LoraRecord

        lora = LoraRecord.read(source.lora).shape
    graph = build_decoder(decoder, locations_of(weights), context.directory / WEIGHTS, lora)
    files.save(graph, output.onnx, by_reference=True)
    link_or_copy(_required(source.encodings), output.encodings)
    return output


def _import_graph(task: Task, context: Context[ExportConfig, ExportInput]) -> ExportedModel:
    from qairt.graph.foreign.adopt import adopt

    weights = context.directory / WEIGHTS
    output = _output_in(context.directory, weights)
    given = adopt(
        task.paths["onnx"],
        task.paths["encodings"],
        onnx=output.onnx,
        weights=weights,
        encodings=output.encodings,
        io_names=context.config.io_names,
        threads=context.threads,
    )
    for encoding in given:
        print(encoding)
    return output


def _output_in(directory: Path, weights: Path | None = None) -> ExportedModel:
    return ExportedModel(onnx=directory / "model.onnx", weights=weights, encodings=directory / "model.encodings")


def _graph_files(onnx: Path) -> list[Path]:
    from qairt.graph.files import external_files

    return [onnx, *(onnx.parent / name for name in sorted(external_files(onnx)))]


def _required(path: Path | None) -> Path:
    assert path is not None
    return path
