"""The perplexity of weights on some chunks of text, without a recipe around it."""

from __future__ import annotations

from collections.abc import Sequence

from qairt.evaluate.blockwise import BlockwiseModel
from qairt.evaluate.text_metrics import Perplexity
from qairt.evaluate.text_model import Ids
from qairt.evaluate.text_run import added, scored
from qairt.model.parameters import Parameters
from qairt.quant.encodings import Encodings
from qairt.quant.measure.calibration import one_thread_each


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
    metric = Perplexity()
    with one_thread_each(1 if device != "cpu" else threads) as pool:
        model = BlockwiseModel(parameters, encodings, pool, device)
        model.read(chunks, lambda part: None)
        sums = [scored(model, None, place, chunk, [metric])[0] for place, chunk in enumerate(chunks)]
        model.close()
    return metric.score(added(sums))
