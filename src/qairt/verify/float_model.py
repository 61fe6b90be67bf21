"""The float model that graphs are compared with: recorded tensors of real text, others computed on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class AdaptedModel:
    """A LoRA concurrency of a float model."""

    text: Path
    """Of the kind that it is for."""
    branches: Callable[[Parameters], Mapping[str, Floats]]
    """The inputs of its branches for some parameters of the base."""


class FloatModel:
    """The float model as `quantization` recorded it; for an external graph, as its weights compute it.

    1. Quantized graphs are compared with the original model; with a rotation, with the rotated one, whose logits are
       equal.
    2. Float graphs are compared with the exported model, including weights that quantization changed.
    """

    def __init__(
        self,
        source: Path,
        loaded: LoadedModel,
        encodings: Path,
        quantized: Quantized | None,
        adapted: AdaptedModel | None = None,
    ) -> None:
        """
        Args:
            source: where the model's weights are.
            loaded: the output of `model_loading`.
            encodings: those that the graphs were quantized with.
            quantized: the output of `quantization`; None for an external graph.
            adapted: a LoRA concurrency, whose own text it reads; None for the base.
        """
        from qairt.model.config import DecoderConfig
        from qairt.quant.encodings_json import read_encodings

        self._source = source
        self._quantized = quantized
        self._tokenizer = loaded.tokenizer
        self._adapted = adapted
        self.config = DecoderConfig.model_validate_json(read_regular(loaded.model))
        self.encodings = read_encodings(read_text(encodings))

    @cached_property
    def ids(self) -> Ids:
        """Token ids of the text."""
        from qairt.verify.recorded_text import SHIPPED, first_tokens

        if self._quantized is not None and self._adapted is None:
            return self.recorded.ids
        text = self._adapted.text if self._adapted is not None else SHIPPED
        return np.asarray(first_tokens(self._tokenizer, text), np.int32)

    @cached_property
    def recorded(self) -> ReferenceVectors:
        """The original model's tensors for it."""
        from qairt.quant.measure.reference_vectors import ReferenceVectors

        if self._quantized is None or self._adapted is not None:
            return self._record(self.original)
        return ReferenceVectors.load(self._quantized.reference)

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
        return self._recorded_text if rounded or not self._is_changed else self._exported_text

    @cached_property
    def _recorded_text(self) -> ReferenceText:
        return self._text_of(self.recorded, self.original)

    @cached_property
    def _exported_text(self) -> ReferenceText:
        from qairt.quant.measure.reference_vectors import ReferenceVectors

        assert self._quantized is not None  # by `text`
        assert self._quantized.exported_reference is not None
        if self._adapted is not None:
            return self._text_of(self._record(self.exported), self.exported)
        return self._text_of(ReferenceVectors.load(self._quantized.exported_reference), self.exported)

    @property
    def _is_changed(self) -> bool:
        """Quantization changed weights, so that the exported model is another one."""
        return self._quantized is not None and self._quantized.exported_reference is not None

    @cached_property
    def _branches(self) -> Mapping[str, Floats] | None:
        return self._adapted.branches(self.original) if self._adapted is not None else None

    def _record(self, parameters: Parameters) -> ReferenceVectors:
        from qairt.verify.recorded_text import record_text

        return record_text(parameters, self.ids.tolist(), self._branches)

    def _parameters(self, changed: Path | None) -> Parameters:
        rotation = self._quantized.rotation if self._quantized is not None else None
        return open_quantized(self._source, self.config, changed, rotation)

    def _text_of(self, vectors: ReferenceVectors, parameters: Parameters) -> ReferenceText:
        from qairt.quant.measure.attended import with_attended
        from qairt.verify.text import ReferenceText

        mask = self.encodings.activations["attention_mask"]
        floor = float(mask.minimum[0])
        logits = partial(_logits, vectors, parameters)
        vectors = with_attended(vectors, parameters, self._branches)
        return ReferenceText(vectors, self.config, mask_floor=floor, logits=logits, branches=self._branches)


def _logits(vectors: ReferenceVectors, parameters: Parameters, start: int, stop: int) -> Floats:
    """Recorded logits, or computed from the last hidden state."""
    import torch

    from qairt.model.names import hidden_name
    from qairt.model.reference import Reference

    kept = vectors.values("logits")
    first = vectors.length - kept.shape[1]
    if start >= first:
        return kept[0, start - first : stop - first]
    hidden = vectors.values(hidden_name(parameters.config.num_layers))[:, start:stop]
    computed: Floats = Reference(parameters).head(torch.from_numpy(hidden))[0].numpy()
    return computed
