"""A rotation of the residual stream, of the values, or of both, fused into the weights.

Every vector of the residual stream is multiplied by an orthogonal matrix R, and the adjacent weights so that the model
computes the same: a spike in one channel, which would determine the range alone, is spread over all channels.

1. RMSNorm commutes with R once its weight is 1, so the weight is folded into the linears that read the norm.
2. Weights that write to the stream (embedding, o_proj, down_proj, their biases) are multiplied by R on their output
   side; those that read it (q, k, v, gate, up, lm_head, …) by R^T on their input side. The logits do not change.
3. Each head's values are multiplied by their own orthogonal matrix on the output side of v_proj; o_proj undoes it on
   its input side. (Attention mixes tokens, not the channels of a value.)
4. Queries and keys are not rotated: rotary embedding does not commute with a rotation of their channels. Neither are
   the norms of Qwen3's queries and keys.

Source: QuaRot (2024); R1 and the offline half of R2 in the terms of SpinQuant (2024).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qairt.errors import QuantizationError
from qairt.model.config import DecoderConfig
from qairt.model.layout import EMBEDDING, FINAL_NORM, LM_HEAD, layer_weight_shapes
from qairt.model.rotation_matrix import RotationMatrix

_READS_STREAM = {
    "self_attn.q_proj.weight": "input_layernorm.weight",
    "self_attn.k_proj.weight": "input_layernorm.weight",
    "self_attn.v_proj.weight": "input_layernorm.weight",
    "conv.b_proj.weight": "input_layernorm.weight",
    "conv.c_proj.weight": "input_layernorm.weight",
    "conv.x_proj.weight": "input_layernorm.weight",
    "mlp.gate_proj.weight": "post_attention_layernorm.weight",
    "mlp.up_proj.weight": "post_attention_layernorm.weight",
    "mlp.router.weight": "post_attention_layernorm.weight",
    "mlp.experts.gate_proj.weight": "post_attention_layernorm.weight",
    "mlp.experts.up_proj.weight": "post_attention_layernorm.weight",
}
_WRITES_STREAM = ("self_attn.o_proj", "conv.out_proj", "mlp.down_proj", "mlp.experts.down_proj", "mlp.expert_bias")
_BESIDE_STREAM = {*_READS_STREAM, *_WRITES_STREAM}


class Rotation(BaseModel):
    """Selects the matrices; the same seed gives the same on every machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["hadamard"] = "hadamard"
    """Hadamard matrices with random signs; see `qairt.model.rotation_matrix`."""
    hidden_size: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    stream: bool = True
    """Rotate the residual stream (rules 1 and 2)."""
    values: bool = False
    """Rotate the values of each head (rule 3)."""
    seed: int = Field(default=0, ge=0)

    @classmethod
    def of(cls, config: DecoderConfig, *, stream: bool = True, values: bool = False, seed: int = 0) -> Rotation:
        """The rotation for a decoder."""
        return cls(hidden_size=config.hidden_size, head_dim=config.head_dim, stream=stream, values=values, seed=seed)

    def to_json(self) -> str:
        return self.model_dump_json(indent=2)

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "rotation.json") -> Rotation:
        """
        Raises:
            QuantizationError: it was not written by `to_json`; names the first wrong field.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            fault = error.errors()[0]
            field = ".".join(map(str, fault["loc"]))
            raise QuantizationError(
                f"not a rotation: {field}: {fault['msg']}" if field else f"not a rotation: {fault['msg']}",
                where=where,
                remedy="clear the quantization stage and run again",
            ) from error

    def check(self, config: DecoderConfig) -> None:
        """
        Raises:
            QuantizationError: it is for a decoder of another width, or of a family whose stream cannot be rotated.
        """
        if self.stream:
            require_rotatable(config)
        if (self.hidden_size, self.head_dim) != (config.hidden_size, config.head_dim):
            raise QuantizationError(
                f"the rotation is for a hidden size of {self.hidden_size} and heads of {self.head_dim}, "
                f"the model has {config.hidden_size} and {config.head_dim}",
                where="rotation.json",
                remedy="quantize this model again: the rotation belongs to another",
            )

    def folded_norm(self, name: str) -> str | None:
        """The RMSNorm whose weight the weight `name` takes over (rule 1)."""
        if not self.stream:
            return None
        if name == LM_HEAD:
            return FINAL_NORM
        module = _module(name)
        return name.removesuffix(module) + _READS_STREAM[module] if module in _READS_STREAM else None

    def is_folded(self, name: str) -> bool:
        """A norm whose weight becomes 1 (rule 1)."""
        return self.stream and (name == FINAL_NORM or _module(name) in _READS_STREAM.values())

    def input_side(self, name: str) -> RotationMatrix | None:
        """R of rule 2 or 3, for the input channels of the linear `name`: they are multiplied by R^T."""
        if self.folded_norm(name) is not None:
            return RotationMatrix(self.hidden_size, self.seed)
        rotated = self.values and _module(name) == "self_attn.o_proj.weight"
        return RotationMatrix(self.head_dim, self.seed) if rotated else None

    def output_side(self, name: str) -> RotationMatrix | None:
        """R of rule 2 or 3, for the output channels of `name`: a linear, its bias, or the embedding."""
        module = _module(name).rpartition(".")[0]
        if self.stream and (name == EMBEDDING or module in _WRITES_STREAM):
            return RotationMatrix(self.hidden_size, self.seed)
        rotated = self.values and module == "self_attn.v_proj"
        return RotationMatrix(self.head_dim, self.seed) if rotated else None


def require_rotatable(config: DecoderConfig) -> None:
    """
    Raises:
        QuantizationError: the residual stream of the decoder cannot be rotated (rules 1 and 2).
    """
    why = why_not_rotatable(config)
    if why is not None:
        raise QuantizationError(
            f"the residual stream of {config.family} models cannot be rotated: {why}",
            where="R1",
            remedy="use a technique without the rotation R1",
        )


def why_not_rotatable(config: DecoderConfig) -> str | None:
    """What keeps the residual stream of the decoder from being rotated (rules 1 and 2); None if nothing does."""
    norms = config.norms
    if norms.kind == "layer":
        return "LayerNorm subtracts a mean, which a rotation does not keep"
    if config.pooling is not None:
        return "the last norm is not followed by a linear that could take its weight"
    if norms.after_attention or norms.after_mlp:
        return "norms after attention and MLP are not followed by a linear that could take their weights"
    if not norms.before_attention or not norms.before_mlp:
        return "a linear that reads the stream has no norm before it"
    for layer in range(config.num_layers):
        for name, shape in layer_weight_shapes(config, layer).items():
            module, _, kind = _module(name).rpartition(".")
            if len(shape) > 1 and kind == "weight" and not {f"{module}.weight", module} & _BESIDE_STREAM:
                return f"{module} is not known to read or write it"
    return None


def _module(name: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` -> `mlp.up_proj.weight`; other names unchanged."""
    return name.split(".", 3)[3] if name.startswith("model.layers.") else name
