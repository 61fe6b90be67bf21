"""Every key that a `config.json` may hold: read, harmless, or refused. Any other gets a notice.

A key that a family's own class in transformers does not read has no effect there, so it has none here.
Source: transformers 5; `tests/model/test_config_keys.py` goes through the installed configuration classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import JsonValue

from qairt.model.families.family import Family

_READ = frozenset(
    {
        "architectures",
        "bos_token_id",
        "eos_token_id",
        "head_dim",
        "model_type",
        "original_max_position_embeddings",
        "partial_rotary_factor",
        "quantization",
        "quantization_config",
        "rope_parameters",
        "rope_scaling",
        "rope_theta",
        "sliding_window",
    }
)
"""In every family; the others are those that `Family.defaults` has."""

REFUSED: dict[str, tuple[tuple[JsonValue, ...], str]] = {
    "add_cross_attention": ((False, None), "the model attends to an encoder"),
    "attention_chunk_size": ((None,), "attention in chunks is not supported"),
    "is_causal": ((True, None), "its attention is not causal: this is an encoder"),
    "is_encoder_decoder": ((False, None), "the model has an encoder"),
    "per_layer_config": ((None,), "layers that differ are not supported"),
    "pooling": ((None,), "an embedding model gives no logits"),
    "pooling_type": ((None,), "an embedding model gives no logits"),
    "transformers_weights": ((None,), "weights in a file of another name are not supported"),
}
"""Key -> its values that change nothing, and why a model with any other is refused."""

_TRAINING = frozenset(
    {
        "attention_dropout",
        "classifier_dropout",
        "embd_pdrop",
        "embedding_dropout",
        "hidden_dropout",
        "initializer_range",
        "output_router_logits",
        "pretraining_tp",
        "resid_pdrop",
        "residual_dropout",
        "router_aux_loss_coef",
        "router_jitter_noise",
    }
)
_BOOKKEEPING = frozenset(
    {
        "_name_or_path",
        "_commit_hash",
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_attn_implementation_internal",
        "_experts_implementation",
        "_experts_implementation_internal",
        "_from_model_config",
        "_sliding_window_pattern",
        "attn_implementation",
        "auto_map",
        "cache_implementation",
        "chunk_size_feed_forward",
        "dtype",
        "eod_token_id",
        "experts_implementation",
        "finetuning_task",
        "id2label",
        "is_decoder",
        "is_llama_config",
        "keys_to_ignore_at_inference",
        "label2id",
        "max_sequence_length",
        "model_max_length",
        "name_or_path",
        "num_labels",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "prefix",
        "problem_type",
        "pruned_heads",
        "return_dict",
        "rope_interleaved",
        "sep_token_id",
        "task_specific_params",
        "tf_legacy_loss",
        "tie_encoder_decoder",
        "tokenizer_class",
        "torch_dtype",
        "torchscript",
        "transformers_version",
        "transformers.js_config",
        "unk_token_id",
        "unsloth_fixed",
        "unsloth_version",
        "use_bfloat16",
        "use_cache",
        "use_flash_attn",
        "use_mrope",
    }
)
_GENERATION = frozenset(
    {
        "assistant_confidence_threshold",
        "assistant_lookbehind",
        "bad_words_ids",
        "begin_suppress_tokens",
        "constraints",
        "diversity_penalty",
        "do_sample",
        "early_stopping",
        "encoder_no_repeat_ngram_size",
        "encoder_repetition_penalty",
        "epsilon_cutoff",
        "eta_cutoff",
        "exponential_decay_length_penalty",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "length_penalty",
        "max_length",
        "max_new_tokens",
        "min_length",
        "min_p",
        "no_repeat_ngram_size",
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "num_beam_groups",
        "num_beams",
        "num_return_sequences",
        "output_scores",
        "remove_invalid_values",
        "repetition_penalty",
        "return_dict_in_generate",
        "suppress_tokens",
        "target_lookbehind",
        "temperature",
        "top_k",
        "top_p",
        "typical_p",
    }
)
"""Defaults of sampling, which transformers moves to the generation's own configuration."""

_HARMLESS = _TRAINING | _BOOKKEEPING | _GENERATION
_WINDOWS = frozenset({"layer_types", "max_window_layers", "sliding_window_pattern", "use_sliding_window"})
"""Stated by exporters for families without windows too."""

Treatment = Literal["read", "harmless", "refused", "unknown"]


def treatment(family: Family, key: str) -> Treatment:
    """What becomes of a key of a family's `config.json`."""
    if key in REFUSED:
        return "refused"
    if key in _READ or key in family.defaults or key in family.also_read:
        return "read"
    return "harmless" if key in _HARMLESS or key in _WINDOWS or key in family.unread else "unknown"


def refused_keys(stated: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
    """The stated keys that change what the model computes in a way that is not supported, and why."""
    return ((key, why) for key, (plain, why) in REFUSED.items() if key in stated and stated[key] not in plain)


def unknown_keys(family: Family, stated: Mapping[str, JsonValue]) -> list[str]:
    """The stated keys that neither this program nor the family's class in transformers reads."""
    unread = (key for key, value in stated.items() if value is not None and value is not False)
    return sorted(key for key in unread if treatment(family, key) == "unknown")
