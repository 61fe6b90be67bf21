"""Everything that distinguishes one supported decoder from another, in one record."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Token = Annotated[int, Field(ge=0, lt=1 << 31)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Activation = Literal["silu", "gelu", "gelu_tanh", "relu2"]


class Norms(BaseModel):
    """The norms of a decoder layer: their kind, and by place the name of their weight; None where there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["rms", "layer"] = "rms"
    """`layer` subtracts the mean first."""
    bias: bool = False
    plus_one: bool = False
    """The stored weight is what the scale differs from 1 by."""
    before_attention: str | None = "input_layernorm"
    after_attention: str | None = None
    before_mlp: str | None = "post_attention_layernorm"
    after_mlp: str | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """The names, in the decoder's order."""
        all_places = (self.before_attention, self.after_attention, self.before_mlp, self.after_mlp)
        return tuple(name for name in all_places if name is not None)


class ClampedGate(BaseModel):
    """GPT-OSS's gated activation: min(gate, limit) * sigmoid(slope * min(gate, limit)) * (1 + clamp(up, ±limit))."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: Positive
    slope: Positive


class Experts(BaseModel):
    """The MLP of every layer is a choice of gated MLPs (a mixture of experts)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: Annotated[int, Field(gt=1)]
    chosen: Annotated[int, Field(gt=0)]
    """How many a token is given to: those with the largest router logits."""
    width: Annotated[int, Field(gt=0)]
    """Of each expert, in place of `intermediate_size`."""
    weights_add_up: bool = True
    """The softmax is over the chosen ones, so that their weights add up to 1; else over all."""
    bias: bool = False
    """Of the router and of every linear of the experts."""
    clamped: ClampedGate | None = None
    """In place of the activation."""

    @model_validator(mode="after")
    def _chooses(self) -> Experts:
        if self.chosen > self.count:
            raise ValueError(f"a token is given to {self.chosen} experts of {self.count}")
        return self


class Convolution(BaseModel):
    """Layers that mix tokens by a short convolution in place of attention; see `qairt.model.layers.convolution`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: tuple[int, ...]
    length: Annotated[int, Field(gt=1)]
    """Tokens that each token reads, with itself."""


class LocalRotary(BaseModel):
    """The rotary embedding of windowed layers, where it differs from the others'."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    theta: Positive
    scaling: dict[str, JsonValue] | None = None


class Dense(BaseModel):
    """A linear behind the pooling, and the activation of what it gives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outputs: Annotated[int, Field(gt=0)]
    bias: bool = False
    activation: Literal["identity", "tanh"] = "identity"


class Pooling(BaseModel):
    """How an embedding model makes one vector of a text's final hidden states."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["last", "mean"]
    """The last token's, or the mean of all."""
    dense: tuple[Dense, ...] = ()
    """In order."""
    normalize: bool = False
    """Divide the vector by its length."""


class DecoderConfig(BaseModel):
    """A decoder's shape, normalised from `config.json` or a GGUF header (see `qairt.model.describe`).

    The defaults are Llama's. What was added to the first version is left out of the written form where it has its
    default, so that a model's digest does not change when another family needs a new field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    """A name in `qairt.model.families.FAMILIES`."""
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: Positive
    """Of every norm, whichever its kind."""
    rope_theta: Positive
    rope_scaling: dict[str, JsonValue] | None = None
    """Normalised by `qairt.model.rope_scaling`: `rope_type` is one of linear, dynamic, yarn, llama3, longrope, or
    frequency_factors; None for plain rotary."""
    tie_word_embeddings: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    max_position_embeddings: int = 2048
    sliding_window: int | None = None
    """Tokens that the layers with windowed attention look back, counting the token itself; None if every layer attends
    to the whole context."""
    bos_token_id: Token | None = None
    eos_token_ids: tuple[Token, ...] = ()

    windowed_layers: tuple[int, ...] | None = None
    """Those with windowed attention; None if all have it. Without a `sliding_window` none has."""
    norms: Norms = Norms()
    qk_norm_place: Literal["heads", "whole", "after_rotary"] = "heads"
    """Each head before the rotary embedding, the whole projection before it is split, or each head after it."""
    activation: Activation = "silu"
    gated_mlp: bool = True
    parallel_blocks: bool = False
    """Attention and MLP read the same input, and both are added to it."""
    embedding_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    """Of what attention and MLP add to the residual stream."""
    attention_scale: Positive | None = None
    """Of the scores; None for 1 / sqrt(head_dim)."""
    logits_multiplier: float = 1.0
    score_cap: Positive | None = None
    """Scores s become cap * tanh(s / cap)."""
    logits_cap: Positive | None = None
    rotary_dim: int | None = None
    """Values of each head that are rotated; None for all."""
    rotary_interleaved: bool = False
    """Neighbouring values are rotated together, not those of the two halves."""
    unrotated_layers: tuple[int, ...] = ()
    local_rotary: LocalRotary | None = None
    pooling: Pooling | None = None
    """Of an embedding model, which reads a text in one call: it has no cache and gives no logits."""
    bidirectional: bool = False
    """A token attends to all others; in windows, to so many on either side, itself among them."""
    experts: Experts | None = None
    convolution: Convolution | None = None
    sinks: bool = False
    """Every query head has a learned score that takes a share of its attention and has no value."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        return {
            name: value
            for name, value in written.items()
            if name in _FIRST or getattr(self, name) != fields[name].get_default()
        }

    @property
    def rotated(self) -> int:
        """Values of each head that are rotated."""
        return self.head_dim if self.rotary_dim is None else self.rotary_dim

    def is_convolution(self, layer: int) -> bool:
        """Whether a layer has a short convolution in place of attention."""
        return self.convolution is not None and layer in self.convolution.layers

    def window_of(self, layer: int) -> int | None:
        """Tokens that a layer looks back, with the token itself; None for all."""
        windowed = self.windowed_layers is None or layer in self.windowed_layers
        return self.sliding_window if windowed else None

    @property
    def embedding_size(self) -> int:
        """Values of the vector that an embedding model makes of a text."""
        assert self.pooling is not None
        return self.pooling.dense[-1].outputs if self.pooling.dense else self.hidden_size

    @property
    def longest_unwindowed(self) -> int | None:
        """Tokens that a text may have if the model states a window and no layer applies it; else None."""
        return self.sliding_window if self.windowed_layers == () else None

    @property
    def longest_context(self) -> int | None:
        """Tokens that the rotary embedding reaches; None if it adapts to any length."""
        scaling = self.rope_scaling or {}
        factor, trained_at = scaling.get("factor"), scaling.get("original_max_position_embeddings")
        if scaling.get("rope_type") == "dynamic":
            return None
        if scaling.get("rope_type") != "longrope" and isinstance(factor, int | float) and isinstance(trained_at, int):
            return max(self.max_position_embeddings, int(factor * trained_at))
        return self.max_position_embeddings


_FIRST = frozenset(
    {
        *("family", "vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads", "num_kv_heads"),
        *("head_dim", "rms_norm_eps", "rope_theta", "rope_scaling", "tie_word_embeddings", "qkv_bias", "output_bias"),
        *("mlp_bias", "qk_norm", "max_position_embeddings", "sliding_window", "bos_token_id", "eos_token_ids"),
    }
)
"""The fields of the first version, which are always written."""
