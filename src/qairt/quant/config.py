"""The settings of a quantization technique, as in the files of `recipes/quantization`. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue, field_validator

from qairt.errors import QuantizationError
from qairt.model.config import DecoderConfig
from qairt.quant.measure.activation_ranges import ActivationRanges
from qairt.settings_model import SettingsModel

Technique = Literal["minmax", "lpbq"]
CUSTOM = "module_precisions.custom"
"""The setting that gives bits to linears by name."""
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


class ModulePrecisions(SettingsModel):
    """Bits by module: weights other than the decoder layers' linears, keys and values, and linears that differ from the
    rest."""

    model_config = ConfigDict(frozen=True)

    lm_head: Literal[8] = 8
    """Symmetric, per channel."""
    embedding: Literal[8, 16] = 8
    """One scale for the whole table: the NPU's Gather has no per-channel scales."""
    rms_norm: Literal[8, 16] = 16
    """Asymmetric, per tensor."""
    bias: Literal[32] = 32
    kv_cache: Literal[8, 16] | None = None
    """Keys and values, symmetric; the stage's `kv_bitwidth` if omitted."""
    custom: dict[str, Literal[4, 8]] = Field(default_factory=dict)
    """Linears by name (`model.layers.3.mlp.down_proj`) or by a regular expression that matches the whole name
    (`.*\\.(v|down)_proj`). An exact name takes precedence over expressions; among those the first match counts. Linears
    whose bits differ from the technique's are quantized per output channel from their largest weight."""

    @field_validator("custom")
    @classmethod
    def _expressions(cls, custom: dict[str, int]) -> dict[str, int]:
        for pattern in custom:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return custom


class AutoPrecision(SettingsModel):
    """The target of mixed 4- and 8-bit weights: one of these."""

    model_config = ConfigDict(frozen=True)

    budget_mb: Annotated[float, Field(gt=0)] | None = None
    """Maximum size of all weights in MB (1,000,000 bytes): linears, embedding, lm_head and norms."""
    max_ppl_increase: Annotated[float, Field(gt=0)] | None = None
    """Maximum increase of perplexity over float weights, as a fraction: 0.05 is 5 %."""
    max_size_increase: Annotated[float, Field(gt=0)] | None = None
    """Maximum increase of the size of all weights over that with every linear in 4 bits, as a fraction. The choice is
    made before anything is quantized, by the cost of rounding to nearest, and so takes a single pass."""

    def model_post_init(self, context: object) -> None:
        if (self.budget_mb, self.max_ppl_increase, self.max_size_increase).count(None) != 2:
            raise ValueError("auto_precision: set one of budget_mb, max_ppl_increase and max_size_increase")


class TechniqueConfig(SettingsModel):
    """How weights are quantized."""

    model_config = ConfigDict(frozen=True)

    technique: Technique
    """minmax: one scale per output channel, from its largest weight. lpbq: 4-bit blocks whose scales are integers
    1 … 16 times a float per output channel (low-power block quantization)."""
    weight_bitwidth: Literal[4, 8] | None = None
    """Bits of the decoder layers' linears; 8 for minmax and 4 for lpbq if omitted."""
    block_size: Annotated[int, Field(gt=0)] = 64
    """Inputs per scale (lpbq). Must divide the input width of every linear."""
    decompressed_bitwidth: Literal[8] = 8
    """Bits that the NPU expands 4-bit weights to (lpbq)."""
    scale_search: Literal["rtn", "mse", "seqmse"] = "seqmse"
    """lpbq: `rtn` uses a block's largest weight, `mse` the scale on the LPBQ grid with the least squared error of the
    weights, `seqmse` the one with the least squared error of the layer's output, given the quantized layers before
    it."""
    candidates: Annotated[int, Field(gt=1, le=200)] = 20
    """Clipping ratios tried per block (lpbq with mse or seqmse)."""
    importance: Literal["none", "energy"] = "energy"
    """lpbq with mse: `energy` weights errors by the energy of the input on the calibration text (with gptq, the part of
    it that other inputs do not compensate), `none` does not.
    Without it the search clips exactly the weights that matter, and rounding to nearest is better."""
    rounding: Literal["nearest", "gptq", "learned"] = "nearest"
    """lpbq: `gptq` changes weights to compensate each other's rounding errors, with the float model's output as the
    target, so that a layer also compensates the errors of the layers before it. `learned` then learns the integers of
    all linears of a block together, from the block's output."""
    damping: Annotated[float, Field(gt=0, le=1)] = 0.01
    """lpbq with gptq: regularization, as a fraction of the mean energy of the inputs."""
    passes: Annotated[int, Field(ge=0, le=100)] = 2
    """lpbq with gptq: how often every rounded weight is optimized again given all others."""
    steps: Annotated[int, Field(gt=0)] = 100
    """lpbq with learned: steps per block, each on two sequences of the calibration text."""
    distillation_steps: Annotated[int, Field(ge=0)] = 0
    """Steps that tune the scales of the linears' channels and the norms on the output of the whole model
    (`qairt.quant.tune.distillation`), on two sequences each; 0 turns tuning off."""
    distillation_rate: Annotated[float, Field(gt=0, le=0.1)] = 0.001
    """Learning rate of these steps."""
    rotation: list[Literal["R1", "R2"]] | Literal["auto"] = Field(default_factory=list)
    """R1 multiplies the residual stream by a Hadamard matrix, R2 the values of each head; both are fused into the
    weights (`qairt.model.rotation`). `auto`: R1 for models that it fits (`qairt.quant.rotation_choice`)."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the rotation's signs, and of the order of sequences in learning and tuning."""
    activation_ranges: ActivationRanges = ActivationRanges()
    module_precisions: ModulePrecisions = ModulePrecisions()
    auto_precision: AutoPrecision | None = None
    """Gives 8 bits to the 4-bit linears that gain most; takes two passes with `budget_mb`, more with
    `max_ppl_increase`."""

    def model_post_init(self, context: object) -> None:
        unused = self.model_fields_set & _LPBQ_SETTINGS
        if self.technique == "minmax" and unused:
            raise ValueError(f"{', '.join(sorted(unused))}: not a setting of minmax, which has no blocks")
        if self.technique == "lpbq" and self.weight_bitwidth == 8:
            raise ValueError("weight_bitwidth: lpbq weights have 4 bits; use minmax for 8")
        if self.auto_precision is not None and self.bits != 4:
            raise ValueError("auto_precision: it changes 4-bit linears to 8 bits, but all have 8 already")

    def settings(self) -> dict[str, JsonValue]:
        """All settings of this technique including defaults, as plain data for `model_validate`."""
        settings = self.model_dump(mode="json", exclude=set(_LPBQ_SETTINGS) if self.technique == "minmax" else None)
        if self.auto_precision is not None and self.auto_precision.max_size_increase is None:
            del settings["auto_precision"]["max_size_increase"]  # keys from before it existed stay what they are
        return settings

    @property
    def bits(self) -> int:
        """Bits of the decoder layers' linears."""
        return self.weight_bitwidth or (4 if self.technique == "lpbq" else 8)

    @property
    def needs_block_quantization(self) -> bool:
        """Needs an NPU that supports LPBQ (HTP v69 or newer)."""
        return self.technique == "lpbq"

    @property
    def uses_inputs(self) -> bool:
        """Uses the inputs of each linear: the calibration text also runs through the quantized layers."""
        return self.technique == "lpbq" and (self.scale_search == "seqmse" or self.rounding != "nearest")

    @property
    def uses_model_output(self) -> bool:
        """Uses the output of the whole model, including its head."""
        return self.auto_precision is not None or self.distillation_steps > 0

    @property
    def changes_weights(self) -> bool:
        """Weights are not simply rounded to the nearest values."""
        return self.technique == "lpbq" and self.rounding != "nearest"

    def check(self, config: DecoderConfig) -> None:
        """Everything that can be checked before work starts.

        Raises:
            QuantizationError: the block size does not divide the input width of a linear; names the first. Or the
                decoder cannot be rotated, or has no head whose predictions a setting needs.
        """
        if config.experts is not None:
            self._refuse(
                {"rounding: learned": self.rounding == "learned"} | self._needing_gradients(),
                "it needs all weights of a layer in memory, and a mixture of experts is quantized one expert at a time",
            )
        if config.pooling is not None:
            why = "it needs predictions of the next token, which an embedding model does not make"
            self._refuse(self._needing_gradients(), why)
        if "R1" in self.rotation:
            from qairt.model.rotation import require_rotatable

            require_rotatable(config)
        if self.technique != "lpbq":
            return
        widths = {
            "self_attn.q_proj": config.hidden_size,
            "self_attn.o_proj": config.num_heads * config.head_dim,
        }
        if config.experts is None:
            widths["mlp.down_proj"] = config.intermediate_size
        else:
            widths["mlp.experts.down_proj"] = config.experts.width
        for module, width in widths.items():
            if width % self.block_size:
                raise QuantizationError(
                    f"block_size {self.block_size} does not divide its input width {width}",
                    where=f"model.layers.0.{module}.weight",
                    remedy=_fitting_blocks(list(widths.values())),
                )

    def _needing_gradients(self) -> dict[str, bool]:
        """Settings that need the gradients of the model's loss, and whether they are used. With `max_size_increase` a
        model without them keeps 4 bits."""
        auto = self.auto_precision
        return {
            "distillation_steps": self.distillation_steps > 0,
            "auto_precision.budget_mb": auto is not None and auto.budget_mb is not None,
            "auto_precision.max_ppl_increase": auto is not None and auto.max_ppl_increase is not None,
        }

    @staticmethod
    def _refuse(settings: Mapping[str, bool], why: str) -> None:
        for setting, is_used in settings.items():
            if is_used:
                remedy = "set stages.quantization.recipe to balanced.yaml, fast.yaml or minmax.yaml"
                raise QuantizationError(why, where=setting, remedy=remedy)


def _fitting_blocks(widths: list[int]) -> str:
    sizes = [size for size in (128, 64, 32, 16) if not any(width % size for width in widths)]
    if sizes:
        return f"use block_size {' or '.join(map(str, sizes))}, or the minmax technique"
    return "no usual block size fits this model; use the minmax technique"
