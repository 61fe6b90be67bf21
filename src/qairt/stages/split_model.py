"""Stage 5: split each graph into parts that run in sequence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from qairt.engine.axes import Coord, value_of
from qairt.engine.choices import Chosen
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
from qairt.files import link_or_copy, read_regular
from qairt.keys import digest
from qairt.stages.export import WEIGHTS, ExportConfig, is_external
from qairt.stages.facts import Sizes, has_model, model_of, open_exported, sizes_of
from qairt.stages.prepare_exports import context_length_at
from qairt.stages.toolchain_choice import uses_sdk

if TYPE_CHECKING:
    import onnx_ir as ir

    from qairt.graph.weights_file import ExportedWeights
    from qairt.model.config import DecoderConfig
    from qairt.model.parts import Part


class SplitModelConfig(StageConfig):
    """Number of parts."""

    not_in_key = StageConfig.not_in_key | {"num_splits", "split_lm_head"}

    num_splits: Annotated[int, Field(gt=0)] | Literal["auto"] = 4
    """Number of parts, including the embedding (part 1); at most two for a layer, its attention and its MLP. `auto`:
    the fewest that fit a graph and the RAM, the machine's or that of `--memory`. A cache directory keeps what its
    first run chose."""
    split_lm_head: bool = False
    """Make the last part the final norm and lm_head alone; counted in `num_splits`."""


class SplitModelInput(StageInput):
    onnx: Path
    weights: Path | None = None
    encodings: Path
    model: Path | None = None
    changed_weights: Path | None = None
    rotation: Path | None = None
    branch_weights: Path | None = None
    reference: Path | None = None
    exported_reference: Path | None = None
    adapted_reference: Path | None = None
    adapted_exported_reference: Path | None = None

    @property
    def vectors(self) -> Path | None:
        """The reference of the exported model; with LoRA, with branches on, so that they are compared too."""
        return self.adapted_exported_reference or self.adapted_reference or self.exported_reference or self.reference


class SplitPart(StageOutput):
    onnx: Annotated[Path, Artifact("ONNX")]
    weights: Path
    """Float32: the part's own, read from the model's files; of an external graph those of the whole graph."""
    encodings: Annotated[Path, Artifact("encodings")]
    test_vectors: Path
    """Inputs and float outputs of the part for real text."""


@register_stage
class SplitModel(Stage[SplitModelConfig, SplitModelInput, SplitPart]):
    """Split each graph into `num_splits` parts.

    1. Part 1 is the embedding alone.
    2. A cut comes after the second residual Add of a layer; with more parts than layers, after the first too.
    3. Parts are balanced by bytes, including lm_head, unless `split_lm_head` makes it the last part.
    4. Each part is run on real text and compared with the float model.

    Source: the part names and counts are those of the QAIRT compile workflow.
    """

    name = "split_model"
    imported_ahead = ("onnx_ir",)
    worth = "intermediate"
    long_read = frozenset({"test_vectors"})
    axis_name = "split"
    computed_from: ClassVar[Mapping[str, str]] = {"part.of": "stages.split_model.num_splits"}
    computed_with = ("onnxruntime",)
    requires = ("prepare_exports",)

    def labels(self, coord: Coord, env: Env) -> Sequence[int]:
        return [part.index for part in parts_of(env)]

    def check(self, env: Env) -> None:
        parts_of(env)

    def notices(self, env: Env) -> Sequence[str]:
        number, why = chosen_splits(env)
        vtcm = "VTCM decides nothing: a graph needs the same of it in any number of parts"
        return [f"num_splits: auto is {number}: {why}; {vtcm}"] if why else []

    def expand(self, batch: Batch, env: Env) -> Expansion:
        from qairt.toolchain.costs import graph_peak, graph_seconds, write_seconds

        tasks = []
        writes = has_model(env) and not is_external(env)
        paths = {"model": model_of(env).source} if writes else {}
        first = next(iter(batch), None)
        for coord in batch:
            for part in parts_of(env):
                is_first = writes and coord == first
                estimate = Estimate(
                    bytes=3_000_000 + _vector_bytes(part, coord, env) + part.weight_bytes * is_first,
                    seconds=graph_seconds(part) + write_seconds(part) * is_first,
                    peak_ram=graph_peak(part),
                )
                tasks.append(
                    Task(
                        coord=(*coord, ("split", part.index)),
                        sources=(coord,),
                        params={"part": part.model_dump(mode="json"), "cl": context_length_at(coord, env)},
                        paths=paths,
                        shares=f"part {part.index}",
                        estimate=estimate,
                    )
                )
        return Expansion(tasks)

    def facets_read(self) -> Collection[str]:
        return ()

    def introspect(self, batch: Batch, env: Env, token: object) -> Mapping[str, object]:
        return {f"part {part.index}": part.describe() for part in parts_of(env)}

    def run(self, task: Task, context: Context[SplitModelConfig, SplitModelInput]) -> SplitPart:
        from qairt.graph import files, part_vectors, split
        from qairt.model.config import DecoderConfig
        from qairt.model.inputs import is_mask
        from qairt.model.names import attended_name, residual_name
        from qairt.model.parts import Part
        from qairt.quant.encodings_json import read_encodings_of, write_encodings
        from qairt.quant.measure.reference_vectors import ReferenceVectors, expected_outputs, part_inputs

        source, directory = context.input, context.directory
        part = Part.model_validate(task.params["part"])
        ar = value_of(task.coord, "ar")
        context.progress(0.0, "splitting")
        model = files.load(source.onnx)
        name = f"{source.onnx.stem}_{part.index}_of_{part.of}"
        weights = directory / WEIGHTS
        cut = split.cut(model, part, name=name)
        if source.weights is not None:
            link_or_copy(source.weights, weights)
        else:
            _write_weights(cut, weights, task, context)
        onnx = directory / f"{name}.onnx"
        files.save(cut, onnx)
        encodings = directory / f"{name}.encodings"
        inside = {residual_name(layer): attended_name(layer) for layer in part.halved}
        kept = read_encodings_of(source.encodings, {*split.tensor_names(cut), *inside})
        for residual, handed_on in inside.items():
            kept.activations[handed_on] = kept.activations.pop(residual)
        encodings.write_text(write_encodings(kept), encoding="utf-8")
        context.progress(0.3, "running the part on real text")
        vectors = directory / "test_vectors.safetensors"
        floors = [float(mask.minimum[0]) for name, mask in kept.activations.items() if is_mask(name)]
        floor = floors[0] if floors else 0.0  # the embedding has none
        if source.model is not None and source.vectors is not None:
            config = DecoderConfig.model_validate_json(read_regular(source.model))
            reference = ReferenceVectors.load(source.vectors)
            if part.halved:
                from qairt.quant.measure.attended import with_attended  # imports torch

                exported = _exported(task, context, config)
                reference = with_attended(reference, exported.parameters, exported.others)
            cl = int(str(task.params["cl"]))
            inputs = part_inputs(reference, config, part, ar=ar, cl=cl, mask_floor=floor)
            expected = expected_outputs(reference, config, part, ar=ar, cl=cl)
            recorded = part_vectors.record(onnx, inputs, expected=expected, threads=context.threads)
        else:
            from qairt.graph.foreign.adopt import external_part_inputs

            external = external_part_inputs(source.onnx, part, directory, mask_floor=floor, threads=context.threads)
            recorded = part_vectors.record(onnx, external, threads=context.threads)
        recorded.save(vectors)
        return SplitPart(onnx=onnx, weights=weights, encodings=encodings, test_vectors=vectors)

    def write_visualization(self, items: Batch, context: OutputContext) -> None:
        from qairt.amounts import size
        from qairt.stages.pictures import svg

        rows = [
            (f"part {part.index}", float(part.weight_bytes), size(part.weight_bytes)) for part in parts_of(context.env)
        ]
        drawn = svg.bars("Float weights of each part (part 1 is the embedding)", rows)
        (context.directory / "part_sizes.svg").write_text(drawn, encoding="utf-8")


def _write_weights(
    cut: ir.Model, weights: Path, task: Task, context: Context[SplitModelConfig, SplitModelInput]
) -> None:
    """Those that the part refers to, as quantization left them."""
    from qairt.model.config import DecoderConfig
    from qairt.stages.part_weights import write_part_weights

    source = context.input
    assert source.model is not None
    exported = _exported(task, context, DecoderConfig.model_validate_json(read_regular(source.model)))

    def progress(fraction: float, name: str) -> None:
        context.progress(0.3 * fraction, name)

    write_part_weights(cut, exported, weights, context.shared, progress)


def _exported(
    task: Task, context: Context[SplitModelConfig, SplitModelInput], config: DecoderConfig
) -> ExportedWeights:
    source = context.input
    return open_exported(task.paths["model"], config, source.changed_weights, source.rotation, source.branch_weights)


def _vector_bytes(part: Part, coord: Coord, env: Env) -> int:
    """Of a part's test vectors, but for masks: what its layers keep of past tokens, its input and its output."""
    from qairt.model.kept import kept_names, kept_shape, kept_slots

    if not has_model(env):
        return 0
    config, ar, cl = model_of(env).config, value_of(coord, "ar"), context_length_at(coord, env)
    assert isinstance(ar, int)
    kept = sum(
        prod(kept_shape(config, name, kept_slots(config, layer, ar, cl)))
        for layer in part.attentions
        for name, _ in kept_names(config, layer)
    )
    width = config.vocab_size if part.has_head and config.pooling is None else config.hidden_size
    return 4 * (kept + ar * (config.hidden_size + width))


def parts_of(env: Env) -> list[Part]:
    """The parts of the recipe's model.

    Raises:
        RecipeError: more parts than the number of layers allows; gives the maximum.
    """
    config = env.configs["split_model"]
    assert isinstance(config, SplitModelConfig)
    return env.once("parts", lambda: parts_for(env, chosen_splits(env)[0]))


def chosen_splits(env: Env) -> tuple[int, str]:
    """The number of parts, and why it was chosen; empty where the recipe states it."""
    config = env.configs["split_model"]
    assert isinstance(config, SplitModelConfig)
    if config.num_splits != "auto":
        return config.num_splits, ""
    least = 3 if config.split_lm_head else 2
    return env.once("chosen splits", lambda: _choose_splits(env, least))


def _choose_splits(env: Env, least: int) -> tuple[int, str]:
    """What an earlier run chose for such a model, so that its items are found again; else the fewest."""
    from qairt.machine import total_memory
    from qairt.toolchain.costs import largest_peak
    from qairt.toolchain.limits import Ram, bits_of_layers, bits_per_weight, fewest_splits, part_limit

    technique, ram = env.facts.get("technique"), Ram.of(total_memory(), env.memory)
    bits, each, sdk = bits_of_layers(technique), bits_per_weight(technique), uses_sdk(env.configs.get("quantize"))
    number, why = fewest_splits(
        lambda number: parts_for(env, number),
        bits_per_weight=each,
        peak_of=lambda part: largest_peak(part, bits, sdk_quantizer=sdk),
        ram=ram,
        least=least,
    )
    sizes = _sizes(env)
    key = digest([sizes.embedding, list(sizes.layers), sizes.head, bits, each, sdk, least, part_limit()])
    known = env.choices.known("num_splits", key)
    if known is None:
        env.choices.make("num_splits", key, Chosen(number, why))
        return number, why
    stays = f"as an earlier run chose ({known.why})"
    other = f"; for {ram} it would be {number}: state that number to build them"
    return known.value, stays + (other if number != known.value else "")


def parts_for(env: Env, num_splits: int) -> list[Part]:
    """The parts of the recipe's model for any `num_splits`.

    Raises:
        RecipeError: more parts than the number of layers allows, or too few for lm_head alone.
    """
    from qairt.model.parts import plan_split

    sizes = _sizes(env)
    config = env.configs["split_model"]
    assert isinstance(config, SplitModelConfig)
    return plan_split(
        embedding_bytes=sizes.embedding,
        layer_bytes=sizes.layers,
        head_bytes=sizes.head,
        num_splits=num_splits,
        split_lm_head=config.split_lm_head,
        mlp_bytes=sizes.mlps,
    )


def _sizes(env: Env) -> Sizes:
    def measure() -> Sizes:
        if not is_external(env):
            return sizes_of(env)
        from qairt.graph.foreign.adopt import layer_sizes

        config = env.configs["export"]
        assert isinstance(config, ExportConfig)
        assert config.onnx is not None
        return Sizes(*layer_sizes(config.onnx, config.io_names))

    return env.once("sizes of the parts", measure)


def part_at(coord: Coord, env: Env) -> Part:
    """The part at `coord`."""
    return parts_of(env)[value_of(coord, "split") - 1]
