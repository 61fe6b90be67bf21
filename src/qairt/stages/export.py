"""Stage 3: the decoder's ONNX with named dimensions, over one file of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import model_validator

from qairt.engine.stage import (
    Artifact,
    Batch,
    Context,
    Env,
    Estimate,
    Expansion,
    OutputContext,
    Stage,
    StageConfig,
    StageInput,
    StageOutput,
    Task,
    register_stage,
)
from qairt.errors import ContractViolation, RecipeError
from qairt.files import link_or_copy
from qairt.stages.facts import find_file, model_of, open_quantized, sizes_of


class ExportConfig(StageConfig):
    """Empty for a model; `onnx` and `encodings` take somebody else's export in its place."""

    not_in_key = StageConfig.not_in_key | {"onnx", "encodings"}

    onnx: Path | None = None
    encodings: Path | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> ExportConfig:
        if (self.onnx is None) != (self.encodings is None):
            raise ValueError("onnx and encodings belong together: give both, or neither")
        return self


class ExportInput(StageInput):
    model: Path | None = None
    encodings: Path | None = None
    changed_weights: Path | None = None
    rotation: Path | None = None


class ExportedModel(StageOutput):
    onnx: Annotated[Path, Artifact("ONNX")]
    weights: Path
    """Float32, one file; every later graph points into it."""
    encodings: Annotated[Path, Artifact("encodings")]


@register_stage
class Export(Stage[ExportConfig, ExportInput, ExportedModel]):
    """Build the decoder's graph from its configuration; write its weights once, as the graph wants them.

    1. The graph is built, not traced: it takes no copy of the weights and a second of time.
    2. Weights that quantization changed, or rotated, are written as it left them.
    3. With `onnx` and `encodings` the graph is a foreign one, and no earlier stage is needed.
    """

    name = "export"

    def check(self, env: Env) -> None:
        for name in ("onnx", "encodings"):
            named: Path | None = getattr(self.config, name)
            path = find_file(env, named) if named is not None else None
            if path is not None and not path.is_file():
                raise RecipeError(
                    f"{path} does not exist", where=f"stages.export.{name}", remedy="give the path of an existing file"
                )
        if self.config.onnx is None and "quantization" not in env.configs:
            raise ContractViolation(
                "there is nothing to export",
                where="stages.export",
                remedy="put model_loading and quantization before it, or give it onnx and encodings",
            )
        if self.config.onnx is not None and "quantization" in env.configs:
            raise ContractViolation(
                "it was given an ONNX graph, and there is a model too",
                where="stages.export",
                remedy="take out model_loading and quantization, or onnx and encodings",
            )

    def expand(self, batch: Batch, env: Env) -> Expansion:
        if self.config.onnx is not None:
            onnx, encodings = self._foreign_paths(env)
            size = sum(path.stat().st_size for path in _foreign_files(onnx))
            paths = {"onnx": onnx, "encodings": encodings}
            return Expansion([Task(coord=(), sources=(), paths=paths, estimate=Estimate(bytes=size, seconds=2))])
        model, sizes = model_of(env), sizes_of(env)
        estimate = Estimate(
            bytes=sizes.total, seconds=2 + sizes.total / 3e8, peak_ram=300_000_000 + 2 * sizes.largest_block
        )
        return Expansion(
            [Task(coord=coord, sources=(coord,), paths={"model": model.source}, estimate=estimate) for coord in batch]
        )

    def cache_key_extras(self, env: Env) -> tuple[tuple[str, Any], ...]:
        if self.config.onnx is None:
            return ()
        onnx, encodings = self._foreign_paths(env)
        files = [*_foreign_files(onnx), encodings]
        return (("files", tuple((path.name, env.digest(self.name, path)) for path in files)),)

    def _foreign_paths(self, env: Env) -> tuple[Path, Path]:
        return find_file(env, _given(self.config.onnx)), find_file(env, _given(self.config.encodings))

    def run(self, task: Task, context: Context[ExportConfig, ExportInput]) -> ExportedModel:
        return self._foreign(task, context) if "onnx" in task.paths else self._own(task, context)

    def _own(self, task: Task, context: Context[ExportConfig, ExportInput]) -> ExportedModel:
        from qairt.graph import files
        from qairt.graph.build import build_decoder
        from qairt.graph.weights_file import write_weights
        from qairt.model.config import DecoderConfig

        directory = context.directory
        decoder = DecoderConfig.model_validate_json(_given(context.input.model).read_bytes())
        source = context.input
        parameters = open_quantized(task.paths["model"], decoder, source.changed_weights, source.rotation)
        weights, onnx, encodings = (directory / name for name in ("weights.bin", "model.onnx", "model.encodings"))
        places = write_weights(parameters, weights, context.progress)
        files.save(build_decoder(decoder, places, weights), onnx)
        link_or_copy(_given(context.input.encodings), encodings)
        return ExportedModel(onnx=onnx, weights=weights, encodings=encodings)

    def _foreign(self, task: Task, context: Context[ExportConfig, ExportInput]) -> ExportedModel:
        from qairt.graph.foreign.foreign import adopt

        directory = context.directory
        weights, onnx, encodings = (directory / name for name in ("weights.bin", "model.onnx", "model.encodings"))
        adopt(task.paths["onnx"], task.paths["encodings"], onnx=onnx, weights=weights, encodings=encodings)
        return ExportedModel(onnx=onnx, weights=weights, encodings=encodings)

    def write_visualization(self, items: Batch, place: OutputContext) -> None:
        from qairt.stages.pictures.graphs import draw_operators

        (item,) = items.values()
        assert isinstance(item.output, ExportedModel)
        draw_operators("Operators of the whole model's graph", item.output.onnx, place.directory)


def _foreign_files(onnx: Path) -> list[Path]:
    from qairt.graph.files import external_files

    return [onnx, *(onnx.parent / name for name in sorted(external_files(onnx)))]


def _given(path: Path | None) -> Path:
    assert path is not None
    return path
