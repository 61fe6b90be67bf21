"""The float model that graphs are compared with: recorded tensors of real text, others computed on demand."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qairt.files import read_regular, read_text
from qairt.stages.facts import open_quantized

if TYPE_CHECKING:
    from qairt.model.parameters import Parameters
    from qairt.quant.measure.reference_vectors import ReferenceVectors
    from qairt.runtime.stored import Floats
    from qairt.stages.model_loading import LoadedModel
    from qairt.stages.quantization import Quantized
    from qairt.verify.text import ReferenceText

Ids = NDArray[np.int32]


class FloatModel:
    """The float model as `quantization` recorded it; for an external graph, as its weights compute it.

    1. Quantized graphs are compared with the original model; with a rotation, with the rotated one, whose logits are
       equal.
    2. Float graphs are compared with the exported model, including weights that quantization changed.
    """

    def __init__(self, source: Path, loaded: LoadedModel, encodings: Path, quantized: Quantized | None) -> None:
        """
        Args:
            source: where the model's weights are.
            loaded: the output of `model_loading`.
            encodings: those that the graphs were quantized with.
            quantized: the output of `quantization`; None for an external graph.
        """
        from qairt.model.config import DecoderConfig
        from qairt.quant.encodings_json import read_encodings
        from qairt.quant.measure.reference_vectors import ReferenceVectors

        self._source = source
        self._quantized = quantized
        self.config = DecoderConfig.model_validate_json(read_regular(loaded.model))
        self.encodings = read_encodings(read_text(encodings))
        if quantized is not None:
            self.recorded = ReferenceVectors.load(quantized.reference)
        else:
            from qairt.verify.recorded_text import record_text

            self.recorded = record_text(self.original, loaded.tokenizer)

    @property
    def ids(self) -> Ids:
        """Token ids of the text."""
        return self.recorded.ids

    @property
    def weight_bits(self) -> int | None:
        """The fewest bits of any linear's weights; None if none is quantized."""
        widths = [encoding.bitwidth for name, encoding in self.encodings.params.items() if "_proj." in name]
        return min(widths, default=None)

    def logits(self, tokens: int) -> Floats:
        """[tokens, vocab] of the original model."""
        return _logits(self.recorded, self.original, 0, tokens)

    @cached_property
    def original(self) -> Parameters:
        """The original weights, rotated if there is a rotation."""
        return self._parameters(None)

    @cached_property
    def exported(self) -> Parameters:
        """The weights that were exported, including those that quantization changed."""
        return self._parameters(self._quantized.changed_weights if self._quantized is not None else None)

    def text(self, *, rounded: bool) -> ReferenceText:
        """The text with the float model's tensors, for quantized (rounded) or for float graphs."""
        return self._recorded_text if rounded or self._exported_reference is None else self._exported_text

    @cached_property
    def _recorded_text(self) -> ReferenceText:
        return self._text_of(self.recorded, self.original)

    @cached_property
    def _exported_text(self) -> ReferenceText:
        from qairt.quant.measure.reference_vectors import ReferenceVectors

        exported = self._exported_reference
        assert exported is not None  # by `text`
        return self._text_of(ReferenceVectors.load(exported), self.exported)

    @property
    def _exported_reference(self) -> Path | None:
        return self._quantized.exported_reference if self._quantized is not None else None

    def _parameters(self, changed: Path | None) -> Parameters:
        rotation = self._quantized.rotation if self._quantized is not None else None
        return open_quantized(self._source, self.config, changed, rotation)

    def _text_of(self, vectors: ReferenceVectors, parameters: Parameters) -> ReferenceText:
        from qairt.verify.text import ReferenceText

        mask = self.encodings.activations["attention_mask"]
        floor = float(mask.minimum[0])
        return ReferenceText(vectors, self.config, mask_floor=floor, logits=partial(_logits, vectors, parameters))


def _logits(vectors: ReferenceVectors, parameters: Parameters, start: int, stop: int) -> Floats:
    """Recorded logits, or computed from the last hidden state."""
    import torch

    from qairt.model.decoder import hidden_name
    from qairt.model.reference import Reference

    kept = vectors.values("logits")
    first = vectors.length - kept.shape[1]
    if start >= first:
        return kept[0, start - first : stop - first]
    hidden = vectors.values(hidden_name(parameters.config.num_layers))[:, start:stop]
    computed: Floats = Reference(parameters).head(torch.from_numpy(hidden))[0].numpy()
    return computed
