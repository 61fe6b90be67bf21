"""Facts about the recipe that several stages need before anything runs: settings, model, weight sizes, SoC."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.stage import Env
from qairt.errors import ModelError, RecipeError
from qairt.files import read_regular
from qairt.recipe.settings import RecipeSettings

if TYPE_CHECKING:
    from qairt.graph.weights_file import ExportedWeights
    from qairt.model.config import DecoderConfig
    from qairt.model.describe import ModelDescription
    from qairt.model.parameters import Parameters
    from qairt.toolchain.soc import Soc


@dataclass(frozen=True)
class Sizes:
    """Bytes of a decoder's weights in float32."""

    embedding: int
    layers: tuple[int, ...]
    head: int
    """Final norm and lm_head."""
    mlps: tuple[int, ...] = ()
    """Of each layer, what belongs to its MLP; empty where layers cannot be halved."""

    @property
    def total(self) -> int:
        return self.embedding + sum(self.layers) + self.head

    @property
    def largest_block(self) -> int:
        return max(self.embedding, self.head, *self.layers)


def sizes_of(env: Env) -> Sizes:
    """Sizes of the recipe's model."""
    from qairt.model.layout import layer_weight_shapes, mlp_weight_shapes

    config = model_of(env).config
    shapes = (layer_weight_shapes(config, layer).values() for layer in range(config.num_layers))
    layers = tuple(4 * sum(map(prod, of_layer)) for of_layer in shapes)
    table = 4 * config.vocab_size * config.hidden_size
    mlp = 4 * sum(map(prod, mlp_weight_shapes(config).values()))
    mlps = () if config.parallel_blocks else (mlp,) * config.num_layers
    return Sizes(embedding=table, layers=layers, head=table + 4 * config.hidden_size, mlps=mlps)


def held_bytes(env: Env) -> int:
    """Float32 bytes of the weights that quantization has in memory at once: a layer, but of its experts only one."""
    config = model_of(env).config
    held = max(sizes_of(env).layers)
    if config.experts is not None:
        held -= 4 * 3 * config.hidden_size * config.experts.width * (config.experts.count - 1)
    return held


def open_quantized(source: Path, config: DecoderConfig, changed: Path | None, rotation: Path | None) -> Parameters:
    """Open a model's weights, with the changes and the rotation that quantization applied.

    Args:
        source: the model's weights, a file or folder.
        changed: folder of changed weights; None if there are none.
        rotation: file of the rotation applied to all weights; None if there is none.

    Raises:
        QairtError: a file cannot be read.
    """
    from qairt.model.parameters import open_parameters
    from qairt.model.rotation import Rotation

    overlay = None
    if changed is not None:
        from qairt.quant.changed_weights import ChangedWeights

        overlay = ChangedWeights(changed)
    applied = Rotation.from_json(read_regular(rotation), str(rotation)) if rotation is not None else None
    return open_parameters(source, config, overlay, applied)


def open_exported(
    source: Path, config: DecoderConfig, changed: Path | None, rotation: Path | None, branches: Path | None
) -> ExportedWeights:
    """Open the weights of the exported graph: those of `open_quantized`, and of LoRA branches.

    Args:
        branches: file of the weights of branches; None if the graph holds none.

    Raises:
        QairtError: a file cannot be read.
    """
    from qairt.graph.weights_file import ExportedWeights

    others = {}
    if branches is not None:
        from safetensors.numpy import load_file

        others = load_file(branches)
    parameters = open_quantized(source, config, changed, rotation)
    own = [path for path in (rotation, branches) if path is not None]
    files = [*parameters.source.files(), *(sorted(changed.iterdir()) if changed is not None else ()), *own]
    return ExportedWeights(parameters, others, files)


def require_file(env: Env, setting: str, path: Path | str) -> Path:
    """The file that a setting names.

    Args:
        setting: its dotted name, `stages.quantization.calibration_text`.

    Raises:
        RecipeError: it does not exist; says where it was looked for.
    """
    file = Path(path)
    if not file.is_file():
        raise settings_of(env).missing_files.get(setting) or RecipeError(
            f"{file} does not exist", where=setting, remedy="give the path of an existing file"
        )
    return file


def settings_of(env: Env) -> RecipeSettings:
    assert isinstance(env.settings, RecipeSettings), "these stages are configured by a recipe"
    return env.settings


def has_model(env: Env) -> bool:
    """False if the recipe starts from an external ONNX graph."""
    return settings_of(env).model_id_or_path is not None


def model_of(env: Env) -> ModelDescription:
    """The model's description, read from its header.

    Raises:
        ModelError: it is missing, damaged or has an unknown architecture.
        RecipeError: the recipe names no model.
    """
    from qairt.model.describe import describe_model

    name = settings_of(env).model_id_or_path
    if name is None:
        raise RecipeError(
            "the recipe names no model",
            where="model_id_or_path",
            remedy="set model_id_or_path to a Hugging Face folder, a GGUF file or a Hugging Face id",
        )
    missing = settings_of(env).missing_files.get("model_id_or_path")
    if missing is not None and not Path(name).exists():
        raise ModelError(missing.what, where=missing.where, remedy=missing.remedy)
    return env.once("model", lambda: describe_model(name))


def soc_of(env: Env) -> Soc:
    """The SoC to compile for.

    Raises:
        RecipeError: it is unknown; lists the known ones.
    """
    from qairt.toolchain.soc import parse_soc

    return env.once("soc", lambda: parse_soc(settings_of(env).soc_details))
