"""Stage 4: one graph per auto-regressive length and context length."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator, model_validator

from qairt.engine.axes import Coord, value_of
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
from qairt.errors import RecipeError
from qairt.files import link_or_copy, read_regular, read_text
from qairt.stages.export import adopted_graph, is_external
from qairt.stages.facts import has_model, model_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from qairt.model.config import DecoderConfig

Length = Annotated[int, Field(gt=0)]


class PrepareExportsConfig(StageConfig):
    """Which graphs to produce."""

    not_in_key = StageConfig.not_in_key | {"arn", "context_length"}

    arn: list[Length] = Field(default=[1, 128], min_length=1)
    """Auto-regressive lengths: tokens per call. 1 is for decode, larger ones are for prefill."""
    context_length: list[Length] = Field(default=[2048], min_length=1)
    """Context lengths; each must be larger than every auto-regressive length. With several, a part's binary holds the
    graphs of all and its weights once; Genie, GenieX and `qairt generate` run a token on the shortest that it fits,
    onnxruntime-genai all on the longest."""

    @field_validator("arn", "context_length", mode="before", json_schema_input_type=int | list[int])
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, int | float | str) else value

    @model_validator(mode="after")
    def _each_once(self) -> PrepareExportsConfig:
        for name in ("arn", "context_length"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} lists a value twice: {values}")
        return self


class PrepareExportsInput(StageInput):
    onnx: Path
    weights: Path | None = None
    encodings: Path
    model: Path | None = None


class BoundModel(StageOutput):
    onnx: Annotated[Path, Artifact("ONNX")]
    weights: Path | None = None
    """Float weights, the same file for every graph; None if the graph only refers to them."""
    encodings: Annotated[Path, Artifact("encodings")]


@register_stage
class PrepareExports(Stage[PrepareExportsConfig, PrepareExportsInput, BoundModel]):
    """Bind AR and CL.

    1. A graph built by `export` has symbolic dimensions, which are set to numbers.
    2. An external graph has fixed numbers. Each is replaced only if shape propagation proves its meaning.
    """

    name = "prepare_exports"
    imported_ahead = ("onnx_ir",)
    worth = "intermediate"
    axis_name = "ar"
    requires = ("export",)

    def axes(self, env: Env) -> tuple[str, ...]:
        return ("cl", "ar") if len(self.config.context_length) > 1 and not is_embedding(env) else ("ar",)

    def labels(self, coord: Coord, env: Env) -> Sequence[int]:
        return lengths_of(env)[0]

    def check(self, env: Env) -> None:
        shortest, longest_call = min(self.config.context_length), max(self.config.arn)
        if shortest <= longest_call and not is_embedding(env):
            raise RecipeError(
                f"context_length {shortest} must be larger than every arn, but arn has {longest_call}",
                where="stages.prepare_exports.context_length",
                remedy="use a larger context_length, or smaller lengths in arn",
            )
        config = model_of(env).config if has_model(env) else None
        if config is None or config.sliding_window is None:
            return
        window, longest = config.sliding_window, max(self.config.context_length)
        has_windows = config.windowed_layers != () and not is_external(env)
        if longest > window and not has_windows:
            raise RecipeError(
                f"context_length {longest} exceeds the model's sliding window of {window}, which "
                + ("an external graph does not have" if is_external(env) else "its layers do not have"),
                where="stages.prepare_exports.context_length",
                remedy=f"use at most {window}",
            )

    def check_files(self, env: Env) -> None:
        """Binds an external graph to every AR and CL."""
        graph = adopted_graph(env)
        if graph is None:
            return
        for cl in self.config.context_length:
            for ar in self.config.arn:
                _bind(graph.model.clone(), ar=ar, cl=cl)

    def notices(self, env: Env) -> Sequence[str]:
        longest = max(self.config.context_length)
        config = model_of(env).config if has_model(env) else None
        if config is None:
            return ()
        told = self._longrope(config)
        if config.pooling is not None and "arn" in self.config.model_fields_set:
            told.append("an embedding model reads a text in one call: arn is not used, AR is context_length")
        trained_at = config.longest_context
        if trained_at is not None and longest > trained_at:
            told.append(
                f"context_length {longest:,} exceeds the {trained_at:,} tokens that the model was made for, and it has "
                "no rotary scaling for more: expect bad text beyond them"
            )
        return told

    def _longrope(self, config: DecoderConfig) -> list[str]:
        """Which of its two tables each context length takes."""
        scaling = config.rope_scaling
        if scaling is None or scaling["rope_type"] != "longrope":
            return []
        from qairt.model.rope import takes_long_factors

        limit = int(str(scaling["original_max_position_embeddings"]))
        kinds = {cl: "long" if takes_long_factors(scaling, cl) else "short" for cl in self.config.context_length}
        return [
            f"context_length {cl:,}: the rotary embedding takes the model's {kind} factors, made for texts "
            + (f"of more than {limit:,} tokens; shorter ones may read worse" if kind == "long" else f"up to {limit:,}")
            for cl, kind in kinds.items()
        ]

    def expand(self, batch: Batch, env: Env) -> Expansion:
        tasks = []
        several = len(self.axes(env)) > 1
        pairs = [(cl, ar) for cl in self.config.context_length for ar in self.config.arn]
        if is_embedding(env):
            pairs = [(cl, cl) for cl in self.config.context_length]
        for coord in batch:
            for cl, ar in pairs:
                own: Coord = (("cl", cl), ("ar", ar)) if several else (("ar", ar),)
                tasks.append(
                    Task(
                        coord=coord + own,
                        sources=(coord,),
                        params={"cl": cl},
                        estimate=Estimate(bytes=2_000_000, seconds=2, peak_ram=300_000_000),
                    )
                )
        return Expansion(tasks)

    def facets_read(self) -> Collection[str]:
        return ()

    def run(self, task: Task, context: Context[PrepareExportsConfig, PrepareExportsInput]) -> BoundModel:
        from qairt.graph import files

        source, directory = context.input, context.directory
        ar, cl = value_of(task.coord, "ar"), int(str(task.params["cl"]))
        context.progress(0.0, f"binding AR {ar}, CL {cl}")
        onnx = directory / f"ar{ar}-cl{cl}.onnx"
        encodings = directory / f"ar{ar}-cl{cl}.encodings"
        weights = None
        if source.weights is not None:
            weights = directory / source.weights.name
            link_or_copy(source.weights, weights)
        model = _pooling_model(source.model)
        if model is not None:
            _bind_embedding(source, model, ar, onnx, encodings)
        else:
            files.save(_bind(files.load(source.onnx), ar=ar, cl=cl), onnx, by_reference=weights is None)
            link_or_copy(source.encodings, encodings)
        return BoundModel(onnx=onnx, weights=weights, encodings=encodings)

    def write_visualization(self, items: Batch, context: OutputContext) -> None:
        from qairt.stages.pictures.graphs import draw_interfaces

        outputs = (item.output for item in items.values())
        graphs = {output.onnx.stem: output.onnx for output in outputs if isinstance(output, BoundModel)}
        draw_interfaces("Inputs and outputs of one call of each graph, in float32", graphs, context.directory)


def _bind(model: ir.Model, *, ar: int, cl: int) -> ir.Model:
    """`model` for one AR and CL; it is changed in place."""
    from qairt.graph.bind import bind, is_symbolic
    from qairt.graph.foreign.bind import bind_foreign

    return bind(model, ar=ar, cl=cl) if is_symbolic(model) else bind_foreign(model, ar=ar, cl=cl)


def _pooling_model(path: Path | None) -> DecoderConfig | None:
    """The configuration of an embedding model; None for any other."""
    from qairt.model.config import DecoderConfig

    config = None if path is None else DecoderConfig.model_validate_json(read_regular(path))
    return config if config is not None and config.pooling is not None else None


def _bind_embedding(source: PrepareExportsInput, config: DecoderConfig, ar: int, onnx: Path, encodings: Path) -> None:
    """The graph holds what depends on a token's row alone; its encodings are those of weights then."""
    from qairt.graph import files
    from qairt.graph.bind import bind
    from qairt.model.inputs import MASK
    from qairt.model.row_constants import row_constants
    from qairt.quant.encodings import Encodings
    from qairt.quant.encodings_json import read_encodings, write_encodings

    found = read_encodings(read_text(source.encodings))
    constants = row_constants(config, ar, float(found.activations[MASK].minimum[0]))
    bound = bind(files.load(source.onnx), ar=ar, cl=ar, constants=constants)
    files.save(bound, onnx, by_reference=source.weights is None)
    activations = {name: each for name, each in found.activations.items() if name not in constants}
    held = {name: found.activations[name] for name in constants}
    encodings.write_text(write_encodings(Encodings(activations, {**found.params, **held})), encoding="utf-8")


def is_embedding(env: Env) -> bool:
    """The recipe's model makes one vector of a text."""
    return has_model(env) and not is_external(env) and model_of(env).config.pooling is not None


def lengths_of(env: Env) -> tuple[list[int], list[int]]:
    """Auto-regressive and context lengths of the graphs; an embedding model reads a whole context in one call."""
    config = prepare_config(env)
    return (config.context_length if is_embedding(env) else config.arn), config.context_length


def prepare_config(env: Env) -> PrepareExportsConfig:
    """The settings of `prepare_exports`: auto-regressive and context lengths."""
    config = env.configs["prepare_exports"]
    assert isinstance(config, PrepareExportsConfig)
    return config


def context_length_at(coord: Coord, env: Env) -> int:
    """The context length of a graph: its coordinate, or the only one the recipe lists."""
    if is_embedding(env):
        return value_of(coord, "ar")
    return value_of(coord, "cl", prepare_config(env).context_length[0])
