"""Names of a decoder's tensors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qairt.model.config import DecoderConfig

LOGITS = "logits"
POOLED = "pooled_output"
"""The output of an embedding model's graph, as Genie names it."""
ALPHA = "lora_alpha"
"""The graph input that holds the strength of every adapter whose A and B are in the graph."""
CAP = "cap"
"""The end of the parameter that capped scores or logits are multiplied by; it is in no file."""
PAST = re.compile(r"^past_(key|value|conv)_(\d+)_(in|out)$")
"""What a layer keeps of past tokens, by the name of a graph's input or output; see `qairt.model.kept`."""
HANDED_ON = re.compile(r"(hidden|attended)_(\d+)")
"""What one part hands on to the next."""
_RESIDUAL = re.compile(r"layers\.\d+\.attn\.residual")
_EXPERT = re.compile(r"\.experts\.(\d+)\.")


def name_of_expert(name: str, expert: int) -> str:
    """`model.layers.0.mlp.experts.up_proj.weight`, which is of all experts, -> that of one: `….experts.3.up_proj.…`."""
    return name.replace(".experts.", f".experts.{expert}.")


def split_expert(name: str) -> tuple[str, int | None]:
    """The inverse of `name_of_expert`: the name of all experts, and which one; None for any other tensor."""
    found = _EXPERT.search(name)
    return (name, None) if found is None else (_EXPERT.sub(".experts.", name), int(found[1]))


def hidden_name(layer: int) -> str:
    """The input of decoder layer `layer`; `hidden_name(num_layers)` is the output of the last one."""
    return f"hidden_{layer}"


def attended_name(layer: int) -> str:
    """What enters the MLP of decoder layer `layer`, where a part begins or ends between its halves."""
    return f"attended_{layer}"


def residual_name(layer: int) -> str:
    """The same in a graph of which that is no input or output."""
    return f"layers.{layer}.attn.residual"


def past_names(layer: int) -> tuple[str, str]:
    return f"past_key_{layer}_in", f"past_value_{layer}_in"


def conv_names(layer: int) -> tuple[str, str]:
    """What a short convolution reads of past tokens, and gives of new ones."""
    return f"past_conv_{layer}_in", f"past_conv_{layer}_out"


def is_residual(name: str) -> bool:
    """Whether a tensor is the residual stream between layers or their halves."""
    return bool(HANDED_ON.fullmatch(name) or _RESIDUAL.fullmatch(name))


def token_axis(name: str) -> int:
    """The axis of tokens: 3 of a key (stored transposed), 2 of all else that a layer keeps, 1 of hidden states and
    logits."""
    if name.startswith("past_key_"):
        return 3
    return 2 if PAST.match(name) else 1


def is_key_or_value(name: str) -> bool:
    """Keys and values have a bitwidth of their own."""
    return name.startswith(("past_key_", "past_value_"))


def output_name(config: DecoderConfig) -> str:
    """The output of the last part besides keys and values."""
    return LOGITS if config.pooling is None else POOLED


def present_names(layer: int) -> tuple[str, str]:
    return f"past_key_{layer}_out", f"past_value_{layer}_out"


def branch_names(module: str) -> tuple[str, str]:
    """The graph inputs A and B of the LoRA branch beside a linear: `lora_0_q_proj_a`, `lora_0_q_proj_b`."""
    layer, _, linear = module.removeprefix("model.layers.").partition(".")
    name = f"lora_{layer}_{linear.rpartition('.')[2]}"
    return f"{name}_a", f"{name}_b"


def branch_map(module: str) -> str:
    """Of a branch whose A and B are in the graph, which of its columns each adapter has: `lora_0_q_proj_map`."""
    return branch_names(module)[0].removesuffix("_a") + "_map"


def is_branch_input(name: str) -> bool:
    """Whether a graph input belongs to LoRA branches."""
    return name.startswith("lora_")


def branch_layer(name: str) -> int | None:
    """The decoder layer of a branch input; None for that of all layers, `ALPHA`."""
    return None if name == ALPHA else int(name.split("_")[1])
