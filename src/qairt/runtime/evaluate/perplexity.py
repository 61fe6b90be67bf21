"""The perplexity of weights on some chunks of text, without a recipe around it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from qairt.model.parameters import Parameters
from qairt.quant.calibration import one_thread_each
from qairt.quant.encodings import Encodings
from qairt.runtime.evaluate.blockwise import BlockwiseModel
from qairt.runtime.evaluate.text_model import Ids


@torch.inference_mode()
def perplexity(
    parameters: Parameters,
    encodings: Encodings,
    chunks: Sequence[Ids],
    *,
    threads: int | None = None,
    device: str = "cpu",
) -> float:
    """exp of the mean negative log-likelihood of tokens 2 … of each chunk.

    Args:
        parameters: with those that quantization changed, where encodings are given.
        encodings: of what is rounded; none for the float model.
        chunks: token ids, each of one sequence from position 0.
        threads: as many as torch is set to when None.
        device: as torch names it.
    """
    total, count = 0.0, 0
    with one_thread_each(1 if device != "cpu" else threads) as pool:
        model = BlockwiseModel(parameters, encodings, pool, device)
        model.read(chunks, lambda part: None)
        for place, chunk in enumerate(chunks):
            ids = torch.from_numpy(chunk).to(device)
            for start, logits in model.logits(place):
                targets = ids[start + 1 : start + 1 + len(logits)]
                rows = logits[: len(targets)].log_softmax(-1)
                total -= float(rows.gather(1, targets[:, None]).sum(dtype=torch.float64))
                count += len(targets)
        model.close()
    return math.exp(total / count)
