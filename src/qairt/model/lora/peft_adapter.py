"""A LoRA adapter in a folder saved by PEFT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from qairt.errors import ModelError
from qairt.model.config import DecoderConfig
from qairt.model.lora.adapted import AdaptedModule, Adapter, StoredMatrix
from qairt.model.lora.linears import linear_sizes, modules_of
from qairt.model.lora.peft_settings import ADAPTER_CONFIG, MERGE, PeftLora, read_peft_lora
from qairt.model.safetensors_file import SafetensorsTensor, read_safetensors_header, read_safetensors_tensor
from qairt.model.weights import listed

ADAPTER_WEIGHTS = "adapter_model.safetensors"
_PICKLED = "adapter_model.bin"
_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_UNSUPPORTED = {
    "lm_head.lora_A.weight": "a LoRA of lm_head",
    ".lora_embedding_A": "a LoRA of the embedding",
    ".lora_embedding_B": "a LoRA of the embedding",
    ".lora_magnitude_vector": "DoRA",
    ".lora_B.bias": "a bias in its B (lora_bias)",
    ".trainable_tokens_delta": "trained token embeddings",
    ".bias": "trained biases (bias)",
    "embed_tokens.weight": "the embedding's weight",
    "lm_head.weight": "lm_head's weight",
}
"""The end of a tensor's name -> what it is. In order: the first that is found counts."""


def read_peft_adapter(name: str, directory: Path, config: DecoderConfig) -> Adapter:
    """The adapter in a folder; headers only.

    Raises:
        ModelError: a file is missing or damaged, the adapter needs what is not supported, or it is of another model.
    """
    settings = read_peft_lora(directory)
    file = _weights_file(directory)
    stored = _by_module_name(read_safetensors_header(file))
    linears, known = linear_sizes(config), modules_of(config)
    found: dict[str, AdaptedModule] = {}
    _refuse_others(stored, file)
    for module in dict.fromkeys(tensor.removesuffix(_A).removesuffix(_B) for tensor in stored):
        found |= _adapted(module, stored, settings, {part: linears[part] for part in known.get(module, ())}, file)
    _check_complete(settings, found, known, file)
    return Adapter(
        name,
        directory,
        (directory / ADAPTER_CONFIG, file),
        {linear: found[linear] for linear in linears if linear in found},
        settings.base_model_name_or_path,
    )


def _weights_file(directory: Path) -> Path:
    file = directory / ADAPTER_WEIGHTS
    if file.is_file():
        return file
    if (directory / _PICKLED).is_file():
        raise ModelError(
            f"the adapter is stored in {_PICKLED}, a pickle, which can run any code when it is opened",
            where=str(directory),
            remedy='convert it where you trust it: python -c "import torch, safetensors.torch as s; '
            f"s.save_file(torch.load('{_PICKLED}', weights_only=True), '{ADAPTER_WEIGHTS}')\"",
        )
    raise ModelError(
        f"the adapter's folder has no {ADAPTER_WEIGHTS}", where=str(directory), remedy="download the whole adapter"
    )


def _by_module_name(tensors: Mapping[str, SafetensorsTensor]) -> dict[str, tuple[str, SafetensorsTensor]]:
    """By the names of the causal language model, also where its inner model alone was trained."""
    found = {}
    for written, tensor in tensors.items():
        name = written.removeprefix(_PREFIX)
        found[f"model.{name}" if name.startswith(("layers.", "embed_tokens.")) else name] = written, tensor
    return found


def _refuse_others(stored: Mapping[str, tuple[str, SafetensorsTensor]], file: Path) -> None:
    for end, what in _UNSUPPORTED.items():
        for name, (written, _) in stored.items():
            if name.endswith(end):
                raise ModelError(
                    f"the adapter holds {what}, which is not supported: {written}", where=str(file), remedy=MERGE
                )
    others = [written for name, (written, _) in stored.items() if not name.endswith((_A, _B))]
    if others:
        raise ModelError(
            f"the adapter holds tensors that are no A or B of a LoRA: {listed(others)}",
            where=str(file),
            remedy=f"save it with peft, or {MERGE}",
        )
    if not stored:
        raise ModelError("the adapter holds no LoRA", where=str(file), remedy="download the whole adapter")


def _adapted(
    module: str,
    stored: Mapping[str, tuple[str, SafetensorsTensor]],
    settings: PeftLora,
    parts: dict[str, tuple[int, int]],
    file: Path,
) -> dict[str, AdaptedModule]:
    """One module of the file as `parts`, linears of the decoder (none if it has no such module): those of a joined one
    share its A, and each gets its rows of B."""
    for end, other in ((_A, _B), (_B, _A)):
        if module + end not in stored:
            written = stored[module + other][0]
            raise ModelError(
                f"{written} is stored without {written.removesuffix(other)}{end}",
                where=str(file),
                remedy="download the whole adapter",
            )
    (a_name, a), (b_name, b) = stored[module + _A], stored[module + _B]
    base = settings.base_model_name_or_path
    of_another = "use an adapter that was trained on this model" + (
        f"; this one says it was trained on {base}" if base else ""
    )
    if not parts:
        raise ModelError(
            f"{a_name} adapts {module}, which is no linear of the model", where=str(file), remedy=of_another
        )
    rank = settings.rank(module)
    inputs, outputs = next(iter(parts.values()))[0], sum(size for _, size in parts.values())
    if a.shape[:1] == b.shape[1:] != (rank,):
        raise ModelError(
            f"{a_name} has shape {list(a.shape)}, but {ADAPTER_CONFIG} gives it rank {rank}",
            where=str(file),
            remedy="use the adapter_config.json that was saved with the adapter",
        )
    for written, shape, expected in ((a_name, a.shape, (rank, inputs)), (b_name, b.shape, (outputs, rank))):
        if shape != expected:
            raise ModelError(
                f"the adapter is of another model: {written} has shape {list(shape)}, "
                f"for {module} it must be {list(expected)}",
                where=str(file),
                remedy=of_another,
            )
    if not settings.targets(module):
        raise ModelError(
            f"{a_name} is stored, but by target_modules {module} is not adapted (peft would ignore it)",
            where=str(file),
            remedy="use the adapter_config.json that was saved with the adapter",
        )
    found, start = {}, 0
    for part, (_, count) in parts.items():
        found[part] = AdaptedModule(
            part,
            rank,
            settings.scaling(module),
            _matrix(file, a_name, a),
            _matrix(file, b_name, b.rows(start, count)),
        )
        start += count
    return found


def _check_complete(
    settings: PeftLora,
    found: Mapping[str, AdaptedModule],
    known: Mapping[str, Sequence[str]],
    file: Path,
) -> None:
    """Every module of a single linear that the settings adapt is stored, by itself or in a joined one."""
    missing = [
        name for name, (first, *others) in known.items() if not others and settings.targets(name) and first not in found
    ]
    if missing:
        raise ModelError(
            f"by target_modules the adapter adapts {listed(missing)}, but their A and B are not stored",
            where=str(file),
            remedy="download the whole adapter",
        )


def _matrix(file: Path, name: str, tensor: SafetensorsTensor) -> StoredMatrix:
    return StoredMatrix(name, file, partial(read_safetensors_tensor, file, name, tensor))
