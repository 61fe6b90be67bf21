"""The perplexity of a model on some chunks of text, without a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from qairt.evaluate.blockwise import BlockwiseModel
from qairt.evaluate.text_metrics import Perplexity
from qairt.evaluate.text_model import Ids
from qairt.evaluate.text_run import scored, total
from qairt.model.parameters import Parameters
from qairt.quant.encodings import Encodings
from qairt.quant.threads import one_thread_each


def perplexity(
    parameters: Parameters,
    encodings: Encodings,
    chunks: Sequence[Ids],
    *,
    threads: int | None = None,
    device: str = "cpu",
    branches: Mapping[str, NDArray[np.float32]] | None = None,
) -> float:
    """exp of the mean negative log-likelihood of tokens 2 … of each chunk.

    Args:
        parameters: the quantized model's, where encodings are given.
        encodings: of the tensors that are quantized; empty for the float model.
        chunks: token ids, each of one sequence from position 0.
        threads: torch's own setting when None.
        device: as torch names it.
        branches: values of the LoRA branches' inputs, by name; those of the base when None.
    """
    metric = Perplexity()
    with one_thread_each(threads, device) as pool:
        model = BlockwiseModel(parameters, encodings, pool, device, branches)
        try:
            model.read(chunks, lambda fraction: None)
            results = pool.map(partial(scored, model, None, metrics=[metric]), range(len(chunks)), chunks)
            sums = [found for (found,) in results]
        finally:
            model.close()
    return metric.score(total(sums))
