"""What `quantization` does with a recipe's LoRA adapters: read them and their texts, and write what they led to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from qairt.engine.stage import Env, Task
from qairt.files import read_text
from qairt.recipe.configs import BASE
from qairt.stages.concurrencies import Concurrencies, described

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydantic import JsonValue

    from qairt.model.parameters import Parameters
    from qairt.quant.lora import LoraCalibration, Updatable
    from qairt.quant.quantize_model import QuantizationResult

_KEY = "lora"


class AdaptedFiles(TypedDict):
    """Fields of the stage's output."""

    lora: Path
    adapted_reference: Path
    adapted_exported_reference: Path | None
    own_encodings: dict[str, Path] | None
    branch_weights: Path | None


def calibration_task(env: Env, stage: str, found: Concurrencies) -> JsonValue:
    """The concurrencies as plain data."""
    concurrencies: list[JsonValue] = [described(env, stage, found, name) for name in found.settings.concurrencies]
    return {
        "shape": found.shape.model_dump(mode="json"),
        "updatable": found.settings.quant_updatable_mode,
        "concurrencies": concurrencies,
    }


def notes_on_own_encodings(found: Concurrencies) -> list[str]:
    """Where a recipe asks for encodings of each concurrency: what becomes of them."""
    if not found.settings.asks_for_own_encodings:
        return []
    written = (
        f"lora.quant_updatable_mode is {found.settings.quant_updatable_mode}: the encodings of each concurrency are"
        " written, but in binaries all concurrencies share one set, as with none"
    )
    if found.shape.is_switched:
        return [f"{written}: with form hot_switch no tool makes binaries that change them"]
    return [
        f"{written}. The SDK's qairt-lora-importer makes what changes them, and qairt does not run it:"
        " `qairt export RECIPE DIR --layout lora` writes for each graph its files and, as import.sh, its commands"
    ]


def lora_calibration(
    task: Task, tokenizer: Path, parameters: Parameters, tokens: Sequence[NDArray[np.integer]]
) -> LoraCalibration:
    """Read what `calibration_task` named.

    Args:
        tokenizer: the model's, a folder.
        parameters: of the base, with its rotation.
        tokens: the base's chunks: a concurrency reads as many, as long.

    Raises:
        ModelError: an adapter cannot be read; names it.
        QuantizationError: a text is too short; names it.
    """
    from qairt.model.lora.adapter import read_adapter
    from qairt.model.lora.shape import LoraShape, branch_values, constant_values
    from qairt.model.tokenizer import Tokenizer
    from qairt.quant.lora import AdaptedText, LoraCalibration
    from qairt.quant.measure.chunks import most_chunks

    found = _task_data(task)
    shape = LoraShape.model_validate(found["shape"])
    opened = Tokenizer.from_directory(tokenizer)
    texts, adapters = [], {}
    for concurrency in found["concurrencies"]:
        active = []
        for each in concurrency["adapters"]:
            adapter = each["name"]
            adapters[adapter] = read_adapter(adapter, task.paths[f"adapter {adapter}"], parameters.config)
            active.append((adapters[adapter], float(each["strength"])))
        name = concurrency["name"]
        path = task.paths[f"text {name}"]
        chunks = most_chunks(opened.encode(read_text(path)), count=len(tokens), length=len(tokens[0]), where=str(path))
        texts.append(AdaptedText(name, chunks, branch_values(shape, active, parameters)))
    constants = dict(constant_values(shape, adapters, parameters))
    return LoraCalibration(shape, texts, cast("Updatable", found["updatable"]), base=BASE, constants=constants)


def adapted_files(result: QuantizationResult, lora: LoraCalibration, task: Task, directory: Path) -> AdaptedFiles:
    """Write what only a model with LoRA has."""
    import numpy as np
    from safetensors.numpy import save_file

    from qairt.quant.encodings_json import write_encodings
    from qairt.quant.lora_record import ActiveAdapter, InputGrid, LoraRecord

    encodings = result.encodings.activations
    grids = {
        name: InputGrid(
            scale=float(encodings[name].scale[0]),
            offset=int(encodings[name].offset[0]),
            bitwidth=encodings[name].bitwidth,
        )
        for name in lora.texts[0].branches
        if name in encodings
    }
    calibrated = {
        each["name"]: [ActiveAdapter.model_validate(adapter) for adapter in each["adapters"]]
        for each in _task_data(task)["concurrencies"]
    }
    record = directory / "lora.json"
    LoraRecord(shape=lora.shape, grids=grids, calibrated=calibrated).write(record)
    assert result.adapted is not None
    reference, exported = directory / "adapted_reference.safetensors", None
    result.adapted.save(reference)
    if result.adapted_exported is not None:
        exported = directory / "adapted_exported_reference.safetensors"
        result.adapted_exported.save(exported)
    own: dict[str, Path] = {}
    for name, found in result.own_encodings.items():
        own[name] = directory / f"{name}.encodings"
        own[name].write_text(write_encodings(found), encoding="utf-8")
    weights = None
    if lora.constants:
        weights = directory / "branch_weights.safetensors"
        save_file({name: np.ascontiguousarray(value) for name, value in lora.constants.items()}, weights)
        weights.chmod(0o644)
    return AdaptedFiles(
        lora=record,
        adapted_reference=reference,
        adapted_exported_reference=exported,
        own_encodings=own or None,
        branch_weights=weights,
    )


class _Concurrency(TypedDict):
    name: str
    adapters: list[dict[str, str]]


class _TaskData(TypedDict):
    shape: JsonValue
    updatable: str
    concurrencies: list[_Concurrency]


def _task_data(task: Task) -> _TaskData:
    return cast("_TaskData", task.params[_KEY])
