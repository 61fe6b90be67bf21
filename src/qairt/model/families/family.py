"""What a file of this package says about its family of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import JsonValue

from qairt.model.config_values import ConfigValues

Values = dict[str, object]
"""Fields of `DecoderConfig`."""


class Fields(Protocol):
    """The fields of a GGUF header that belong to its architecture; `qairt.model.gguf.fields.GgufFields`."""

    def get(self, key: str) -> bool | int | float | str | None: ...

    def integer(self, key: str, default: int | None = None) -> int: ...

    def by_layer(self, key: str) -> Sequence[int]: ...

    def real(self, key: str, default: float | None = None) -> float: ...

    def windowed_layers(self, period: int) -> list[int]: ...


@dataclass(frozen=True)
class Gguf:
    """The family in llama.cpp's files."""

    architecture: str
    """`general.architecture`."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Module of a layer, or `model.norm`, ours -> llama.cpp's, where it is not the usual one of
    `qairt.model.gguf.names`."""
    permuted: bool = False
    """Query and key rows are stored in the order of neighbouring pairs."""
    holds_one: bool = False
    """The 1 of norms with 1 + w is in the stored weights."""
    scales: bool = False
    """`read` takes `attention.scale`, which is refused elsewhere."""
    experts: bool = False
    """Its models have experts, which `read` describes; a file of another kind with experts is refused."""
    read: Callable[[Fields], Values] = lambda fields: {}
    """Fields of the configuration, beyond the usual ones."""


Tier = Literal["float", "quantized", "emulated", "genie"]
"""How far models of a family were taken: float logits equal to transformers', torch and ONNX; quantized graphs on the
CPU; binaries emulated; a bundle that Genie answers from with the CPU's tokens."""


@dataclass(frozen=True)
class EmbeddingModels:
    """Models of a family that make one vector of a text."""

    models: str
    """Published ones, as people name them."""
    features: tuple[str, ...]
    """What they have beyond the family, in a word or two each."""
    tiny: Mapping[str, Mapping[str, Any]]
    """Name of a variant -> arguments of `save_embedder` in `tests/support/tiny_embedders`."""
    gguf: Gguf | None = None
    """Their own files, if llama.cpp has another architecture for them."""
    proven: tuple[Tier, ...] = ("float", "quantized", "emulated", "genie")
    """As the family's, of vectors: equal to what sentence-transformers makes of transformers' hidden states; in Genie,
    near the CPU's."""


@dataclass(frozen=True)
class Family:
    """One family of decoders, and what distinguishes it from Llama."""

    name: str
    """`model_type` in config.json."""
    architecture: str
    """Its class in `architectures`."""
    title: str
    models: str
    """Published models of it, as people name them."""
    features: tuple[str, ...]
    """What it has beyond Llama, in a word or two each."""
    source: str
    """Where the facts in its file are taken from."""
    defaults: Mapping[str, JsonValue]
    """Key of config.json -> its value where the file does not state it; every key that is read for this family.
    A null `num_key_value_heads` is the number of heads, a null `head_dim` is hidden_size / heads."""
    tiny: Mapping[str, Mapping[str, Any]]
    """Name of a variant -> keys of a tiny random model's configuration, beyond those of `tests/support/tiny_models`."""
    read: Callable[[ConfigValues], Values] = lambda keys: {}
    """Fields of the configuration that are the family's own, or are read in its own way."""
    rope_theta: float = 10000.0
    """Where config.json has none."""
    rope_parameters: Mapping[str, JsonValue] = field(default_factory=dict)
    """Where config.json has no rotary settings at all."""
    local_rope_theta: float | None = None
    """The same of windowed layers; None if they have the rotary embedding of the others."""
    alpha_rotary: bool = False
    """`dynamic` scaling with `alpha` raises the base of the rotary embedding, for every length."""
    partial_rotary: float | None = None
    """The part of each head that is rotated where config.json does not say; None if it is always all of it."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Module of a layer as the model stores it -> as `qairt.model.layout` names it."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Key of config.json that transformers writes too -> the key that it stands for."""
    also_read: Sequence[str] = ()
    """Keys that transformers reads though its class has no such field."""
    unread: Sequence[str] = ()
    """Keys that published configurations hold and transformers does not read either."""
    optional: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the configuration with which a model of the family has the most weights."""
    gguf: Gguf | None = None
    embedding: EmbeddingModels | None = None
    proven: tuple[Tier, ...] = ("float", "quantized", "emulated")
    """What tests hold for it (`tests/support/tiers.py`)."""
    mask_floor: float = -50.0
    """What the mask of a quantized graph usually adds; lower where scores range over more."""


COMMON: Mapping[str, JsonValue] = {
    "hidden_act": "silu",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
"""Defaults that most families share."""
