"""The weights of a finished run's whole float graph, which only refers to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qairt.stages.facts import model_of, open_exported
from qairt.stages.quantization import Quantized

if TYPE_CHECKING:
    from qairt.graph.weights_file import ExportedWeights
    from qairt.results.finished import FinishedRun


def exported_weights(run: FinishedRun) -> ExportedWeights:
    """Those of the model's files, as quantization left them.

    Raises:
        CacheError: quantization has not finished.
        QairtError: a file cannot be read.
    """
    found = run.only_output("quantization", Quantized)
    source = model_of(run.env).source
    return open_exported(source, run.config, found.changed_weights, found.rotation, found.branch_weights)
