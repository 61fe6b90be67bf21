"""The folder of an embedding model, as sentence-transformers publishes it.

`modules.json` lists what a text goes through: the decoder, a pooling, linears, a normalization; each but the first has
a folder with its `config.json`, and a linear its weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from qairt.errors import ModelError
from qairt.files import read_json
from qairt.model.config import Dense, Pooling
from qairt.model.json_file import read_json_object

if TYPE_CHECKING:
    from collections.abc import Mapping

MODULES = "modules.json"
PROMPTS = "config_sentence_transformers.json"
_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_KINDS = {
    "pooling_mode_lasttoken": "last",
    "pooling_mode_mean_tokens": "mean",
    "lasttoken": "last",
    "mean": "mean",
}
"""As sentence-transformers names them -> as `Pooling` does."""
_ACTIVATIONS = {"Identity": "identity", "Tanh": "tanh"}
_REMEDY = "use an embedding model that pools the last token or the mean, with linears and a normalization behind it"


def is_embedding_model(directory: Path) -> bool:
    return (directory / MODULES).is_file()


def read_pooling(directory: Path, hidden_size: int) -> Pooling | None:
    """What follows the decoder of an embedding model; None for any other model.

    Raises:
        ModelError: a module is malformed, or does what is not supported; names its file and the key.
    """
    if not is_embedding_model(directory):
        return None
    kind, dense, width, normalize = None, [], hidden_size, False
    for module, folder in _modules(directory):
        where = directory / folder / _CONFIG
        if kind is None and module == "Pooling":
            kind = _kind(read_json_object(where), where)
        elif kind is not None and module == "Dense" and not normalize:
            found = _dense(read_json_object(where), where, width)
            dense.append(found)
            width = found.outputs
        elif kind is not None and module == "Normalize" and not normalize:
            normalize = True
        else:
            raise ModelError(
                f"the module {module} is not supported at this place",
                where=str(directory / MODULES),
                remedy=_REMEDY,
            )
    if kind is None:
        raise ModelError("it lists no pooling", where=str(directory / MODULES), remedy=_REMEDY)
    return Pooling.model_validate({"kind": kind, "dense": tuple(dense), "normalize": normalize})


def pooling_files(directory: Path) -> list[Path]:
    """All files that `read_pooling` reads, and `dense_weights`."""
    if not is_embedding_model(directory):
        return []
    found = [directory / MODULES]
    for _, folder in _modules(directory):
        found += [directory / folder / name for name in (_CONFIG, _WEIGHTS)]
    return [path for path in found if path.is_file()]


def dense_weights(directory: Path) -> list[Path]:
    """The files with the weights of the linears, in their order.

    Raises:
        ModelError: one has none in safetensors.
    """
    folders = [folder for module, folder in _modules(directory) if module == "Dense"]
    paths = [directory / folder / _WEIGHTS for folder in folders] if is_embedding_model(directory) else []
    for path in paths:
        if not path.is_file():
            raise ModelError(
                f"the linear has no {_WEIGHTS}",
                where=str(path.parent),
                remedy="save it as safetensors (in sentence-transformers: model.save(directory))",
            )
    return paths


def read_prompts(directory: Path) -> dict[str, str]:
    """What the model's authors put before a text, by the name of its use; empty where they name none."""
    path = directory / PROMPTS
    stated = read_json_object(path).get("prompts") if path.is_file() else None
    prompts = stated if isinstance(stated, dict) else {}
    return {name: text for name, text in prompts.items() if isinstance(text, str)}


def _modules(directory: Path) -> list[tuple[str, str]]:
    """The last word of each module's class, and its folder; without the decoder, which comes first."""
    path = directory / MODULES
    if not path.is_file():
        return []
    try:
        listed = [(str(module["type"]).rpartition(".")[2], str(module["path"])) for module in read_json(path)]
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(
            "not a list of modules with a type and a path", where=str(path), remedy="download it again"
        ) from error
    if not listed or listed[0] != ("Transformer", ""):
        raise ModelError(
            "its first module is not a Transformer in the model's own folder", where=str(path), remedy=_REMEDY
        )
    outside = next((folder for _, folder in listed[1:] if Path(folder).name != folder), None)
    if outside is not None:
        raise ModelError(f"the folder {outside!r} is not in the model's own", where=str(path), remedy=_REMEDY)
    return listed[1:]


def _kind(stated: Mapping[str, JsonValue], where: Path) -> str:
    modes = [key for key, value in stated.items() if key.startswith("pooling_mode_") and value is True]
    if isinstance(stated.get("pooling_mode"), str):
        modes = [str(stated["pooling_mode"])]
    if len(modes) != 1 or modes[0] not in _KINDS:
        raise ModelError(
            f"the pooling {' and '.join(modes) or 'is not stated'} is not supported", where=str(where), remedy=_REMEDY
        )
    if stated.get("include_prompt", True) is not True:
        raise ModelError(
            "include_prompt is false: leaving out the tokens of a prompt is not supported",
            where=str(where),
            remedy=_REMEDY,
        )
    return _KINDS[modes[0]]


def _dense(stated: Mapping[str, JsonValue], where: Path, width: int) -> Dense:
    activation = str(stated.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    outputs = stated.get("out_features")
    if activation not in _ACTIVATIONS:
        raise ModelError(f"the activation {activation} is not supported", where=str(where), remedy=_REMEDY)
    if stated.get("in_features") != width or not isinstance(outputs, int) or outputs < 1:
        raise ModelError(
            f"a linear of {stated.get('in_features')} inputs and {outputs} outputs does not follow {width} values",
            where=str(where),
            remedy="download the model again",
        )
    return Dense.model_validate(
        {"outputs": outputs, "bias": bool(stated.get("bias", True)), "activation": _ACTIVATIONS[activation]}
    )
