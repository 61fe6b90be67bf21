"""Stage 2: calibrate on text and compute an encoding for every tensor."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue

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
from qairt.files import read_regular
from qairt.quant.calibration_text import check_length
from qairt.quant.config import TechniqueConfig
from qairt.quant.duration import changed_bytes, seconds_of
from qairt.recipe.files import RecipeFile
from qairt.stages.calibration_file import calibration_path
from qairt.stages.concurrencies import adapter_paths, concurrencies_of, shape_facts, text_paths
from qairt.stages.facets import GRAPH, TOKENIZER, WEIGHTS
from qairt.stages.facts import held_bytes, model_of, require_file, settings_of, sizes_of, soc_of
from qairt.stages.lora_calibration import (
    adapted_files,
    calibration_task,
    lora_calibration,
    notes_on_own_encodings,
)
from qairt.stages.mixed_precision import PerplexityGrowth
from qairt.stages.prepare_exports import is_embedding, lengths_of
from qairt.stages.technique_file import check_technique, load_technique

if TYPE_CHECKING:
    from qairt.model.config import DecoderConfig
    from qairt.model.rotation import Rotation
    from qairt.quant.quantize_model import QuantizationResult


class QuantizationConfig(StageConfig):
    """How weights and activations are quantized."""

    # The key contains the technique they result in, and the text by content.
    not_in_key = StageConfig.not_in_key | {"recipe", "technique", "calibration_text"}

    recipe: Annotated[str, RecipeFile(folder="quantization")] = "balanced.yaml"
    """A technique file: one beside the recipe, or a built-in one (`qairt recipes`)."""
    technique: dict[str, Any] = Field(default_factory=dict)
    """Overrides of the technique file's settings."""
    calibration_text: Annotated[str | None, RecipeFile()] = None
    """A UTF-8 text file. Default: a built-in text."""
    calibration_chunks: Annotated[int, Field(gt=0)] = 16
    """Number of calibration sequences."""
    calibration_length: Annotated[int, Field(gt=1)] = 512
    """Tokens per sequence."""
    act_bitwidth: Literal[8, 16] = 16
    kv_bitwidth: Literal[8, 16] = 8
    mask_floor: Annotated[float, Field(lt=0)] | None = None
    """Value of masked positions in the additive attention mask. Default: depends on the model family."""


class QuantizationInput(StageInput):
    model: Path
    tokenizer: Path


class Quantized(StageOutput):
    encodings: Annotated[Path, Artifact("encodings 1.0.0")]
    encodings_061: Path | None = None
    """The same in version 0.6.1; None where that version cannot say it, as of blocks of 4 bits."""
    reference: Path
    """Hidden states, keys and values of the float model for real text; the source of the parts' test vectors."""
    exported_reference: Path | None = None
    """The same for the model with changed weights; None if no weights changed."""
    changed_weights: Path | None = None
    """Folder of the weights that the technique changed, one file each; None if it changed none."""
    rotation: Path | None = None
    """The rotation applied to all weights; None if there is none."""
    grid_sizes: Path
    """Data for the pictures of the encodings."""
    lora: Path | None = None
    """The shape of the LoRA branches, the grids of their inputs, and the adapters that ranges were measured with; see
    `qairt.quant.lora_record`. None without LoRA."""
    adapted_reference: Path | None = None
    """`reference` of the first concurrency, with its branches on."""
    adapted_exported_reference: Path | None = None
    """`exported_reference` of the first concurrency."""
    branch_weights: Path | None = None
    """The weights of LoRA branches, safetensors, where the graphs hold the adapters themselves (`form: hot_switch`)."""
    own_encodings: dict[str, Path] | None = None
    """By concurrency, the encodings where each has some of its own (`quant_updatable_mode`)."""


@register_stage
class Quantization(Stage[QuantizationConfig, QuantizationInput, Quantized]):
    """Run the model on calibration text, block by block, and write encodings for every tensor.

    1. The content of the technique file, the calibration text and the model is part of the key.
    2. Each finished block is stored: a killed run resumes at the block it was in.
    3. With LoRA, each concurrency reads its own text too, with its adapters on. A result for other adapters of the same
       shape is used as it is, unless the stage is forced: these run in the same graphs, on the grids that those chose.
       Where a recipe asks for encodings of each concurrency, another concurrency has them rebuilt.
    """

    name = "quantization"
    worth = "bundle"
    version = 3
    computed_from: ClassVar[Mapping[str, str]] = {"own_encodings": "lora.concurrencies"}
    computed_with = ("torch", "tokenizers")
    requires = ("model_loading",)

    def check(self, env: Env) -> None:
        technique = self._technique(env)
        check_technique(self._technique_file(env), self.config.technique, model_of(env).config)
        if settings_of(env).execution_environment.device.startswith("cuda"):
            from qairt.model.device import torch_device

            torch_device(settings_of(env).execution_environment.device)
        check_length(
            calibration_path(env, self.config.calibration_text),
            chunks=self.config.calibration_chunks,
            length=self.config.calibration_length,
        )
        if technique.needs_block_quantization and settings_of(env).backend == "HTP":
            from qairt.toolchain.soc import require_block_quantization

            require_block_quantization(soc_of(env))

    def notices(self, env: Env) -> Sequence[str]:
        found = concurrencies_of(env)
        return [] if found is None else notes_on_own_encodings(found)

    def expand(self, batch: Batch, env: Env) -> Expansion:
        model, sizes, technique = model_of(env), sizes_of(env), self._technique(env)
        estimate = Estimate(
            bytes=model.parameter_count // 16 + 50_000_000 + changed_bytes(technique, sum(sizes.layers) // 4),
            seconds=seconds_of(
                technique,
                parameters=model.parameter_count,
                hidden_size=model.config.hidden_size,
                chunks=self.config.calibration_chunks,
                length=self.config.calibration_length,
            ),
            # Techniques that measure the model's output keep the embedding and lm_head in memory.
            peak_ram=1_200_000_000 + 4 * held_bytes(env) + (2 * sizes.head if technique.uses_model_output else 0),
            threads=64,
        )
        paths = {"model": model.source, "calibration_text": calibration_path(env, self.config.calibration_text)}
        params: dict[str, JsonValue] = {"technique": technique.settings()}
        environment: dict[str, JsonValue] = {"device": settings_of(env).execution_environment.device}
        if is_embedding(env):
            from qairt.quant.measure.reference_vectors import TOKENS

            params["calibration_length"] = min(self.config.calibration_length, TOKENS, *lengths_of(env)[1])
        found = concurrencies_of(env)
        if found is not None:
            params["lora"] = calibration_task(env, self.name, found)
            if found.settings.asks_for_own_encodings:
                params["own_encodings"] = [*found.names]
            for name in found.names:
                paths |= adapter_paths(found, name)
            paths |= text_paths(found)
            estimate = estimate.model_copy(update={"seconds": estimate.seconds * len(found.names)})
        described = partial(
            Task,
            params=params,
            interchangeable=("lora",),
            paths=paths,
            environment=environment,
            estimate=estimate,
        )
        return Expansion([described(coord=coord, sources=(coord,)) for coord in batch])

    def cache_key_extras(self, env: Env) -> KeyFacts:
        text = ("calibration_text", env.digest(self.name, calibration_path(env, self.config.calibration_text)))
        return (text, *shape_facts(env, self.name))

    def facets_read(self) -> Collection[str]:
        return (WEIGHTS, GRAPH, TOKENIZER)

    def introspect(self, batch: Batch, env: Env, token: object) -> Mapping[str, object]:
        technique = self._technique(env)
        return {"technique": f"{technique.technique} ({Path(self.config.recipe).name})"}

    def run(self, task: Task, context: Context[QuantizationConfig, QuantizationInput]) -> Quantized:
        from qairt.model.config import DecoderConfig
        from qairt.model.device import torch_device
        from qairt.model.open_weights import open_weights
        from qairt.model.parameters import Parameters
        from qairt.model.tokenizer import Tokenizer
        from qairt.quant.activations import ActivationSettings
        from qairt.quant.apply_technique import apply_technique
        from qairt.quant.execution import Execution
        from qairt.quant.measure.chunks import chunks_of, other_chunks
        from qairt.quant.rotation_choice import chosen_rotation

        config, text_file = context.config, task.paths["calibration_text"]
        decoder = DecoderConfig.model_validate_json(read_regular(context.input.model))
        text = read_regular(text_file).decode(errors="replace")
        ids = Tokenizer.from_directory(context.input.tokenizer).encode(text)
        length = int(str(task.params.get("calibration_length", config.calibration_length)))
        tokens = chunks_of(ids, count=config.calibration_chunks, length=length, where=str(text_file))
        technique = TechniqueConfig.model_validate(task.params["technique"])
        stored = Parameters(open_weights(task.paths["model"]), decoder)
        rotation, rotation_note = chosen_rotation(technique, stored)
        parameters = Parameters(stored.source, decoder, rotation=rotation)
        device = torch_device(str(task.environment["device"]))

        other_text = partial(other_chunks, ids, config.calibration_chunks, config.calibration_length)
        growth = PerplexityGrowth(parameters, other_text, threads=context.threads, device=device)
        lora = None
        if "lora" in task.params:
            context.progress(0.0, "reading LoRA adapters")
            lora = lora_calibration(task, context.input.tokenizer, parameters, tokens)
        result = apply_technique(
            parameters,
            tokens,
            other_text,
            technique,
            growth.of,
            activations=ActivationSettings(config.act_bitwidth, config.kv_bitwidth, config.mask_floor),
            lora=lora,
            execution=Execution(context.resume, context.threads, device, context.progress),
        )
        for note in filter(None, (rotation_note, *result.notes)):
            print(note)
        written = _write(result, decoder, rotation, context.directory)
        if lora is None:
            return written
        return written.model_copy(update=dict(adapted_files(result, lora, task, context.directory)))

    def write_visualization(self, items: Batch, context: OutputContext) -> None:
        from qairt.stages.pictures.encodings import GridSizes, draw_grids

        (item,) = items.values()
        assert isinstance(item.output, Quantized)
        draw_grids(GridSizes.model_validate_json(read_regular(item.output.grid_sizes)), context.directory)

    def _technique(self, env: Env) -> TechniqueConfig:
        path = self._technique_file(env)
        return env.once("technique", lambda: load_technique(path, self.config.technique))

    def _technique_file(self, env: Env) -> Path:
        return require_file(env, "stages.quantization.recipe", self.config.recipe)


def _write(result: QuantizationResult, config: DecoderConfig, rotation: Rotation | None, directory: Path) -> Quantized:
    from qairt.quant.changed_weights import ChangedWeights
    from qairt.quant.encodings_json import fits_version_061, write_encodings
    from qairt.quant.structure import Structure
    from qairt.stages.pictures.encodings import GridSizes

    encodings, encodings_061 = directory / "model.encodings", None
    encodings.write_text(write_encodings(result.encodings), encoding="utf-8")
    if not fits_version_061(result.encodings):
        print("model_0.6.1.encodings is not written: version 0.6.1 of the format cannot hold these blocks of weights")
    else:
        encodings_061 = directory / "model_0.6.1.encodings"
        encodings_061.write_text(write_encodings(result.encodings, "0.6.1"), encoding="utf-8")
    grid_sizes = directory / "grid_sizes.json"
    grid_sizes.write_text(GridSizes.of(result.encodings, Structure(config)).model_dump_json() + "\n", encoding="utf-8")
    reference = directory / "reference.safetensors"
    result.reference.save(reference)
    exported_reference, changed_weights, rotation_file = None, None, None
    if result.exported is not None:
        exported_reference = directory / "exported_reference.safetensors"
        result.exported.save(exported_reference)
    if isinstance(result.overlay, ChangedWeights):
        changed_weights = directory / "changed_weights"
        result.overlay.folder.rename(changed_weights)
    if rotation is not None:
        rotation_file = directory / "rotation.json"
        rotation_file.write_text(rotation.to_json(), encoding="utf-8")
    return Quantized(
        encodings=encodings,
        encodings_061=encodings_061,
        reference=reference,
        exported_reference=exported_reference,
        changed_weights=changed_weights,
        rotation=rotation_file,
        grid_sizes=grid_sizes,
    )
