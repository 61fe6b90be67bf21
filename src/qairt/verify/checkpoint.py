"""The float model against the same checkpoint read by transformers.

Every rung compares with the float model as qairt read it. A weight or a setting that was read wrongly would be on both
sides; here the other side is independent.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import ToolchainNotAvailable
from qairt.machine import available_memory
from qairt.verify.result import LOGITS, CheckpointFidelity

if TYPE_CHECKING:
    from qairt.model.describe import ModelDescription
    from qairt.runtime.stored import Floats
    from qairt.verify.float_model import FloatModel, Ids

CHECKPOINT = "checkpoint"
READER = "transformers"
TOKENS = 64


def why_not(model: ModelDescription) -> str | None:
    """Why the checkpoint cannot be read a second time; None when it can."""
    from qairt.model.quantized.stated import METHOD, read_stated

    if model.config.pooling is not None:
        return f"{READER} gives no vectors; the hidden states of an embedding model are not compared"
    if importlib.util.find_spec(READER) is None:
        return f"{READER} is not installed: pip install {READER}"
    if model.storage is not None and model.format == "safetensors":
        stated = read_stated(model.source)
        if METHOD not in stated.settings or stated.where.name != "config.json":
            return f"{READER} would not see that the weights are quantized: config.json has no quantization_config"
    if 2 * model.parameter_bytes > available_memory():
        return f"{READER} would need more memory than there is"
    return None


def compare_checkpoint(source: Path, model: FloatModel) -> CheckpointFidelity:
    """
    Args:
        source: the model's folder or .gguf file.
        model: as qairt read it.

    Raises:
        ToolchainNotAvailable: transformers cannot read the model.
    """
    from qairt.verify.measure import Deviation

    ids = model.ids[:TOKENS]
    deviation = Deviation(LOGITS)
    deviation.add(_logits(source, ids), model.logits(len(ids)), start=0)
    found = deviation.result(1, len(ids), "isolated")
    assert found.top1 is not None
    return CheckpointFidelity(
        reader=f"{READER} {version(READER)}", tokens=len(ids), sqnr_db=found.sqnr_db, top1=found.top1
    )


def _logits(source: Path, ids: Ids) -> Floats:
    """[tokens, vocab]"""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    folder, more = (source.parent, {"gguf_file": source.name}) if source.is_file() else (source, {})
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # its advice on the settings of a model, which is somebody else's
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            model = AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=torch.float32, local_files_only=True, trust_remote_code=False, **more
            )
        with torch.inference_mode():
            logits: Floats = model(torch.from_numpy(ids.astype("int64"))[None]).logits[0].float().numpy()
    except Exception as error:  # whatever a library of many authors raises
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ToolchainNotAvailable(f"{READER} cannot read the model: {first}", where=str(source)) from error
    finally:
        logging.set_verbosity(level)
    return logits
