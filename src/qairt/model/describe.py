"""Describes a model from its headers alone: no weight is read, so it takes milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qairt.errors import ModelError
from qairt.model.config import DecoderConfig
from qairt.model.layout import weight_shapes
from qairt.model.notes import Notes
from qairt.model.storage import Storage
from qairt.model.tokenizer_files import ADDED_TOKENS, read_tokenizer_files
from qairt.model.weights import WeightSource, listed, missing_weight
from qairt.printable import as_written

if TYPE_CHECKING:
    from qairt.model.gguf.weights import GgufWeights
    from qairt.model.safetensors_weights import SafetensorsWeights

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
)


@dataclass(frozen=True)
class ModelDescription:
    """A model on disk."""

    config: DecoderConfig
    source: Path
    """The model directory or the .gguf file."""
    format: Literal["safetensors", "gguf"]
    files: list[Path]
    """Everything that its content digest covers: weights, configuration, tokenizer; sorted."""
    tensors: dict[str, tuple[int, ...]]
    """Name -> shape of every weight of the decoder, in its order; linears are [out, in]."""
    stored_bytes: int
    """Stored size of these weights."""
    storage: Storage | None = None
    """How its weights are stored, if they are already quantized."""
    notices: tuple[str, ...] = ()
    """What the user should know about the files, though nothing in them is wrong."""
    readings: tuple[str, ...] = ()
    """See `qairt.model.notes.Notes.readings`."""

    @property
    def parameter_count(self) -> int:
        """A tied embedding counts once."""
        return sum(prod(shape) for shape in self.tensors.values())

    @property
    def parameter_bytes(self) -> int:
        """Bytes of the weights in float32; a tied embedding counts once."""
        return 4 * self.parameter_count


def describe_model(path_or_id: str | Path) -> ModelDescription:
    """Describe a model directory, a .gguf file, or a Hugging Face id (which is downloaded if it is not in its cache).

    Raises:
        ModelError: it does not exist, is truncated, of an unsupported architecture, or lacks a weight.
    """
    from qairt.model.locate import locate_model

    path = locate_model(path_or_id)
    try:
        return _describe_directory(path) if path.is_dir() else _describe_gguf(path)
    except OSError as error:
        where = str(error.filename or path)
        raise ModelError(f"cannot be read: {error.strerror}", where=where, remedy="check its permissions") from error


def _describe_directory(directory: Path) -> ModelDescription:
    from qairt.model.git_lfs import refuse_lfs_pointers
    from qairt.model.hf_config import family_of, read_hf_config
    from qairt.model.json_file import read_json_object
    from qairt.model.quantized.stated import settings_files
    from qairt.model.refusals import refuse_adapter
    from qairt.model.safetensors_weights import SafetensorsWeights
    from qairt.model.sentence_transformers import pooling_files
    from qairt.model.unused import tell_other_files, tell_unused_weights

    others = [directory / name for name in ("config.json", "generation_config.json", *_TOKENIZER_FILES)]
    refuse_lfs_pointers(
        [*others, directory / ADDED_TOKENS, directory / "tokenizer.model", *directory.glob("*.safetensors*")]
    )
    refuse_adapter(directory)
    if not (directory / "config.json").is_file():
        held = ", ".join(sorted(file.name for file in directory.glob("*.gguf")))
        raise ModelError(
            "the model directory has no config.json"
            + (f"; to use a GGUF file, give its path ({held})" if held else ""),
            where=str(directory),
            remedy="use a directory as published on Hugging Face: config.json, .safetensors and the tokenizer's files",
        )
    family_of(read_json_object(directory / "config.json"), directory / "config.json")  # before its weights are sought
    weights, notes = SafetensorsWeights(directory), Notes()
    others += [*settings_files(directory), *(file for file in pooling_files(directory) if file not in weights.files())]
    config = read_hf_config(directory, weights.names(), notes)
    tell_other_files(directory, weights.files(), notes)
    tensors = _checked(config, weights, directory)
    tell_unused_weights(config, weights, directory, notes)
    if (directory / "tokenizer.json").is_file():
        others += _tokenizer_notes(directory, notes)
    files = sorted(weights.files() + [file for file in others if file.is_file()])
    return _description(config, directory, "safetensors", files, tensors, weights, notes)


def _tokenizer_notes(directory: Path, notes: Notes) -> list[Path]:
    """Tell what is added to `tokenizer.json`; the further file that counts."""
    files = read_tokenizer_files(directory)
    if files.added:
        texts = [str(token["content"]) for token in files.added]
        notes.tell(
            f"added to the tokens of tokenizer.json, as in transformers: {listed(texts)}", reading="added tokens"
        )
    for role in files.moved:
        notes.reading(role)
    return [directory / ADDED_TOKENS] if ADDED_TOKENS in files.used else []


def _describe_gguf(path: Path) -> ModelDescription:
    from qairt.model.gguf.config import gguf_config
    from qairt.model.gguf.file import read_gguf_header
    from qairt.model.gguf.weights import GgufWeights
    from qairt.model.git_lfs import refuse_lfs_pointers

    refuse_lfs_pointers([path])
    header, notes = read_gguf_header(path), Notes()
    config = gguf_config(header, notes)
    weights = GgufWeights(header)
    tensors = _checked(config, weights, path)
    weights.refuse_unused(tensors)
    return _description(config, path, "gguf", [path], tensors, weights, notes)


def _description(
    config: DecoderConfig,
    source: Path,
    kind: Literal["safetensors", "gguf"],
    files: list[Path],
    tensors: dict[str, tuple[int, ...]],
    weights: SafetensorsWeights | GgufWeights,
    notes: Notes,
) -> ModelDescription:
    storage = weights.storage()
    if storage is not None:
        notes.tell(storage.sentence)
    return ModelDescription(
        config=config,
        source=source,
        format=kind,
        files=files,
        tensors=tensors,
        stored_bytes=weights.stored_bytes(),
        storage=storage,
        notices=tuple(notes.notices),
        readings=tuple(notes.readings),
    )


def _checked(config: DecoderConfig, weights: WeightSource, where: Path) -> dict[str, tuple[int, ...]]:
    """The weights that the configuration requires, each stored in the required shape."""
    stored = {name: weights.shape(name) for name in weights.names()}
    if config.num_layers > len(stored):
        raise ModelError(
            f"the configuration has {config.num_layers:,} layers, more than there are weights ({len(stored):,})",
            where=str(where),
            remedy="use the config.json that was published with the weights",
        )
    _check_rotary(config, where)
    needed = weight_shapes(config)
    for name, shape in needed.items():
        if name not in stored:
            raise missing_weight(name, where, stored)
        if stored[name] != shape:
            raise ModelError(
                f"the weight {name} has shape {list(stored[name])}, the configuration requires {list(shape)}",
                where=str(where),
                remedy="use the config.json that was published with the weights",
            )
    return needed


def _check_rotary(config: DecoderConfig, where: Path) -> None:
    """Settings of a scaling may each be a number and yet give no angles."""
    if config.rope_scaling is None:
        return
    import numpy as np

    from qairt.model.rope import rotary

    try:
        with np.errstate(all="ignore"):
            finite = all(np.isfinite(part).all() for part in rotary(config, [0, 1, config.max_position_embeddings]))
    except (ArithmeticError, ValueError):
        finite = False
    if not finite:
        raise ModelError(
            f"the rotary scaling gives no finite angles: rope_theta {config.rope_theta:g}, "
            f"{as_written(config.rope_scaling)}",
            where=str(where),
            remedy="use the config.json that was published with the model",
        )
