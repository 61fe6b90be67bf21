"""`qairt lora tune`: an adapter trained further on a finished run's quantized weights, as an ordinary PEFT folder."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from qairt import keys
from qairt.amounts import about, size
from qairt.errors import QuantizationError, RecipeError
from qairt.files import read_text, sha256_of
from qairt.notify import Notify
from qairt.results.finished import FinishedRun
from qairt.results.new_folder import new_folder, require_new
from qairt.stages.facts import model_of, open_quantized, sizes_of
from qairt.stages.quantization import Quantized

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qairt.model.lora.adapted import Adapter
    from qairt.quant.execution import Progress
    from qairt.quant.tune.adapter import Training, TunedAdapter

WEIGHTS = "adapter_model.safetensors"
_FLOPS_PER_VALUE = 8.0
"""For one token: forward twice, since a block's weights are not kept, and back."""
_FLOPS_PER_SECOND = {"cpu": 3e10, "cuda": 2e13}


def tune_adapter(
    run: FinishedRun,
    name: str,
    data: Path,
    directory: Path,
    training: Training,
    *,
    notify: Notify,
    progress: Progress,
) -> TunedAdapter:
    """Train an adapter of the recipe and write it to a new folder.

    Args:
        name: of the adapter in the recipe.
        data: a UTF-8 text to train on.
        notify: gets the cost, before the first step.

    Raises:
        RecipeError: there is no such adapter, or it is a GGUF file.
        QuantizationError: the text is too short or is not UTF-8.
        CacheError: quantization is not finished.
        QairtError: `directory` is not empty, or cannot be written.
    """
    from qairt.model.device import torch_device
    from qairt.quant.encodings_json import read_encodings
    from qairt.quant.execution import Execution
    from qairt.quant.tune.adapter import tune_adapter as train

    require_new(directory)
    adapter = _adapter(run, name)
    quantized = run.only_output("quantization", Quantized)
    device = torch_device(run.settings.execution_environment.device)
    chunks = _chunks(run, data, training.length)
    parameters = open_quantized(model_of(run.env).source, run.config, quantized.changed_weights, quantized.rotation)
    read = [*adapter.files, data, quantized.encodings]
    work = keys.digest([[sha256_of(path) for path in read], asdict(training)])
    notify(_cost(run, training, device))
    folder = run.state_folder / "lora_tune" / work[:16]
    with new_folder(directory) as written:
        found = train(
            parameters,
            read_encodings(read_text(quantized.encodings)),
            adapter,
            chunks,
            training,
            work=work,
            execution=Execution(folder=folder, device=device, progress=progress),
        )
        write_adapter(adapter, found, written)
    shutil.rmtree(folder, ignore_errors=True)
    return found


def _cost(run: FinishedRun, training: Training, device: str) -> str:
    from qairt.quant.tune.adapter import HELD_OUT
    from qairt.quant.tune.training import CHUNKS_PER_STEP

    model = sizes_of(run.env)
    passes = training.steps * CHUNKS_PER_STEP + 2 * HELD_OUT
    flops = _FLOPS_PER_VALUE * (model.total / 4) * passes * training.length
    seconds = flops / _FLOPS_PER_SECOND["cuda" if device.startswith("cuda") else "cpu"]
    return (
        f"{training.steps} steps of {CHUNKS_PER_STEP} sequences of {training.length} tokens on {device}:"
        f" about {about(seconds)}, {size(3 * model.largest_block + model.head)} of memory;"
        " a stopped training resumes with the same command"
    )


def _adapter(run: FinishedRun, name: str) -> Adapter:
    from qairt.stages.adapters import adapters_of

    known = adapters_of(run.env)
    if name not in known:
        raise RecipeError(
            f"the recipe has no adapter {name}",
            where=run.recipe.where("lora.adapters"),
            remedy=f"it has {', '.join(known)}" if known else "name one in lora.adapters",
        )
    if not known[name].path.is_dir():
        raise RecipeError(
            f"{known[name].path} is a GGUF file, and PEFT trains its own folders",
            where=run.recipe.where(f"lora.adapters.{name}.path"),
            remedy="use the folder that the file was converted from",
        )
    return known[name]


def _chunks(run: FinishedRun, data: Path, length: int) -> list[NDArray[np.int64]]:
    try:
        text = read_text(data)
    except UnicodeDecodeError as error:
        raise QuantizationError(
            f"it is not UTF-8 text: byte {error.start:,}", where=str(data), remedy="give a UTF-8 text file"
        ) from error
    except OSError as error:
        raise QuantizationError(
            f"it cannot be read: {error.strerror}", where=str(data), remedy="give an existing text file"
        ) from error
    import numpy as np

    ids = np.asarray(run.tokenizer.encode(text), np.int64)
    return [ids[start : start + length] for start in range(0, len(ids) - length + 1, length)]


def write_adapter(adapter: Adapter, found: TunedAdapter, folder: Path) -> None:
    """Write the adapter's own files, with the trained values in the types that they were stored in, to a folder."""
    from safetensors.torch import load_file, save_file
    from torch import from_numpy

    for path in adapter.path.iterdir():
        if path.is_file() and path.name != WEIGHTS:
            shutil.copyfile(path, folder / path.name)
    stored = load_file(adapter.path / WEIGHTS)
    tensors = {name: from_numpy(found.tensors[name].copy()).to(value.dtype) for name, value in stored.items()}
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
