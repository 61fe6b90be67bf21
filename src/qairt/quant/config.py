"""The settings of a quantization technique: what a file in `recipes/quantization` holds. Imports no torch."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from qairt.errors import QuantizationError
from qairt.model.config import DecoderConfig
from qairt.quant.measure.activation_ranges import ActivationRanges

Technique = Literal["minmax", "lpbq"]
_LPBQ_SETTINGS = {
    "block_size",
    "decompressed_bitwidth",
    "scale_search",
    "candidates",
    "importance",
    "rounding",
    "damping",
    "passes",
    "steps",
}


class ModulePrecisions(BaseModel):
    """Bits by module: of the weights that are not a decoder layer's linears, of keys and values, and of linears that
    are to differ from the others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lm_head: Literal[8] = 8
    """Symmetric, per channel."""
    embedding: Literal[8, 16] = 8
    """One scale for the whole table: the NPU's Gather knows no channels."""
    rms_norm: Literal[8, 16] = 16
    """Asymmetric, per tensor."""
    bias: Literal[32] = 32
    kv_cache: Literal[8, 16] | None = None
    """Keys and values, symmetric; the stage's `kv_bitwidth` when left out."""
    custom: dict[str, Literal[4, 8]] = Field(default_factory=dict)
    """Linears by name (`model.layers.3.mlp.down_proj`) or by a regular expression that matches the whole name
    (`.*\\.(v|down)_proj`). An exact name goes before expressions, of which the first that matches counts. What has not
    the technique's own bits is quantized per output channel from its largest weight."""

    @field_validator("custom")
    @classmethod
    def _expressions(cls, custom: dict[str, int]) -> dict[str, int]:
        for pattern in custom:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return custom


class AutoPrecision(BaseModel):
    """What mixed 4- and 8-bit weights must keep to: one of the two."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    budget_mb: Annotated[float, Field(gt=0)] | None = None
    """Size of all weights at most, in MB (1,000,000 bytes): linears, embedding, lm_head and norms."""
    max_ppl_increase: Annotated[float, Field(gt=0)] | None = None
    """Perplexity over that of float weights at most, as a fraction: 0.05 is 5 %."""

    def model_post_init(self, context: Any) -> None:
        if (self.budget_mb is None) == (self.max_ppl_increase is None):
            raise ValueError("auto_precision: give either budget_mb or max_ppl_increase")


class TechniqueConfig(BaseModel):
    """How weights are quantized."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    technique: Technique
    """minmax: one scale per output channel, from its largest weight. lpbq: 4-bit blocks whose scales are integers
    1 … 16 times a float per output channel (low-power block quantization)."""
    weight_bitwidth: Literal[4, 8] | None = None
    """Bits of the decoder layers' linears; 8 for minmax and 4 for lpbq when left out."""
    block_size: Annotated[int, Field(gt=0)] = 64
    """Inputs per scale (lpbq). Must divide the input width of every linear."""
    decompressed_bitwidth: Literal[8] = 8
    """What the NPU expands 4-bit weights to (lpbq)."""
    scale_search: Literal["rtn", "mse", "seqmse"] = "seqmse"
    """lpbq: `rtn` takes a block's largest weight, `mse` the scale on the LPBQ grid with the least squared error of the
    weights, `seqmse` that with the least squared error of the layer's output, given the quantized layers before it."""
    candidates: Annotated[int, Field(gt=1, le=200)] = 20
    """Clipping ratios tried per block (lpbq with mse or seqmse)."""
    importance: Literal["none", "energy"] = "energy"
    """lpbq with mse: `energy` weighs a weight's error by the energy of its input on the calibration text, `none` not at
    all. Without it a search clips just those weights that matter, and rounding to nearest is better."""
    rounding: Literal["nearest", "gptq", "learned"] = "nearest"
    """lpbq: `gptq` changes weights, so that what one loses by rounding the others make good; and aims at the output
    that the float model would give, so that a layer makes good what the layers before it lost. `learned` then learns
    the integers of all linears of a block together, on what leaves the block."""
    damping: Annotated[float, Field(gt=0, le=1)] = 0.01
    """lpbq with gptq: how little the calibration text is believed; of the mean energy of the inputs."""
    passes: Annotated[int, Field(ge=0, le=100)] = 2
    """lpbq with gptq: times that every rounded weight is looked at again given all others."""
    steps: Annotated[int, Field(gt=0)] = 100
    """lpbq with learned: steps a block, each on one sequence of the calibration text."""
    distillation_steps: Annotated[int, Field(ge=0)] = 0
    """Steps in which the scales of the linears' channels and the norms are tuned on what the whole model says
    (`qairt.quant.tune.distillation`), on two sequences each; 0 leaves them as they were chosen."""
    distillation_rate: Annotated[float, Field(gt=0, le=0.1)] = 0.001
    """How far such a step goes."""
    rotation: list[Literal["R1", "R2"]] = Field(default_factory=list)
    """R1: the residual stream is multiplied by a Hadamard matrix, R2: so are the values of each head; both fused into
    the weights (`qairt.model.rotation`)."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the rotation's signs, and of the order of sequences that rounding is learned on."""
    activation_ranges: ActivationRanges = ActivationRanges()
    module_precisions: ModulePrecisions = ModulePrecisions()
    auto_precision: AutoPrecision | None = None
    """Gives some 4-bit linears 8 bits, those that gain most by it; takes two passes, with `max_ppl_increase` more."""

    def model_post_init(self, context: Any) -> None:
        unused = self.model_fields_set & _LPBQ_SETTINGS
        if self.technique == "minmax" and unused:
            raise ValueError(f"{', '.join(sorted(unused))}: not a setting of minmax, which has no blocks")
        if self.technique == "lpbq" and self.weight_bitwidth == 8:
            raise ValueError("weight_bitwidth: lpbq holds weights in 4 bits; use minmax for 8")
        if self.auto_precision is not None and self.bits != 4:
            raise ValueError("auto_precision: it gives 8 bits to linears that have 4, here all have 8")

    def settings(self) -> dict[str, Any]:
        """All settings that this technique has, defaults too, as plain data: `model_validate` takes them back."""
        return self.model_dump(mode="json", exclude=set(_LPBQ_SETTINGS) if self.technique == "minmax" else None)

    @property
    def bits(self) -> int:
        """Bits of the decoder layers' linears."""
        return self.weight_bitwidth or (4 if self.technique == "lpbq" else 8)

    @property
    def needs_block_quantization(self) -> bool:
        """Needs an NPU that knows LPBQ (HTP v69 or newer)."""
        return self.technique == "lpbq"

    @property
    def uses_inputs(self) -> bool:
        """Looks at what goes into each linear: the calibration text also runs through the quantized layers."""
        return self.technique == "lpbq" and (self.scale_search == "seqmse" or self.rounding != "nearest")

    @property
    def looks_at_the_whole(self) -> bool:
        """Looks at what the whole model says, its head included."""
        return self.auto_precision is not None or self.distillation_steps > 0

    @property
    def changes_weights(self) -> bool:
        """Writes other weights than the stored ones or those nearest to them."""
        return self.technique == "lpbq" and self.rounding != "nearest"

    def check(self, config: DecoderConfig) -> None:
        """What can be known before work starts.

        Raises:
            QuantizationError: the block size does not divide the input width of a linear; names the first.
        """
        if self.technique != "lpbq":
            return
        widths = {
            "self_attn.q_proj": config.hidden_size,
            "self_attn.o_proj": config.num_heads * config.head_dim,
            "mlp.down_proj": config.intermediate_size,
        }
        for module, width in widths.items():
            if width % self.block_size:
                raise QuantizationError(
                    f"block_size {self.block_size} does not divide its input width {width}",
                    where=f"model.layers.0.{module}.weight",
                    remedy=_fitting_blocks(list(widths.values())),
                )


def _fitting_blocks(widths: list[int]) -> str:
    sizes = [size for size in (128, 64, 32, 16) if not any(width % size for width in widths)]
    if sizes:
        return f"use block_size {' or '.join(map(str, sizes))}, or the minmax technique"
    return "no usual block size fits this model; use the minmax technique"
