"""A model's chat template as the text before and after a user's message: for scripts without Jinja."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qairt.errors import ModelError
from qairt.model.tokenizer import Tokenizer

_MESSAGE = "qairt-user-words"
_ANSWER = "qairt-model-words"
IN_TEMPLATE = "The model's chat template before and after the user's message."
_NO_TEMPLATE = "The model has no chat template: the prompt goes to it unchanged."
TEMPLATE_LOST = (
    "The model's chat template is more than text before and after the message, so this script does not apply it: the "
    "prompt goes to the model unchanged. Apply the template (chat_template.jinja) to the prompt first."
)


@dataclass(frozen=True)
class PromptAffixes:
    """The text that a script puts before and after the user's message."""

    prefix: str
    suffix: str
    note: str
    """What they are, or why they are empty."""

    @property
    def is_bare(self) -> bool:
        """The message goes to the model unchanged."""
        return not self.prefix and not self.suffix

    @property
    def warning(self) -> str | None:
        """For whoever runs the script."""
        return TEMPLATE_LOST if self.note == TEMPLATE_LOST else None


def prompt_affixes(tokenizer: Tokenizer) -> PromptAffixes:
    """Empty for a model without a chat template, or whose template does not contain the message exactly once."""
    if tokenizer.chat_template is None:
        return PromptAffixes("", "", _NO_TEMPLATE)
    try:
        prefix, suffix = tokenizer.apply_chat_template([{"role": "user", "content": _MESSAGE}]).split(_MESSAGE)
    except (ModelError, ValueError):
        return PromptAffixes("", "", TEMPLATE_LOST)
    return PromptAffixes(prefix, suffix, IN_TEMPLATE)


def between_turns(tokenizer: Tokenizer, affixes: PromptAffixes, end_tokens: Sequence[int]) -> str | None:
    """The text from the end of an answer to the user's next message; None if the template has no such text. The end
    token is left out: it is the answer's own, and Genie keeps it.

    Args:
        affixes: those of the first message.
        end_tokens: the model's.
    """
    if affixes.is_bare:
        return "" if affixes.warning is None else None
    turns = [("user", _MESSAGE), ("assistant", _ANSWER), ("user", _MESSAGE)]
    try:
        text = tokenizer.apply_chat_template([{"role": role, "content": content} for role, content in turns])
        _, after = text.split(_ANSWER)
        between, suffix = after.split(_MESSAGE)
    except (ModelError, ValueError):
        return None
    ends = [tokenizer.decode([token], skip_special_tokens=False) for token in end_tokens]
    end = next((end for end in ends if end and between.startswith(end)), "")
    return between.removeprefix(end) if suffix == affixes.suffix else None


def genie_affixes(tokenizer: Tokenizer, bos: int | None) -> tuple[PromptAffixes, bool]:
    """The affixes for Genie, and whether Genie should add the beginning-of-text token: it does so whenever its
    configuration names one, even if the prompt already starts with it.

    Args:
        bos: the model's beginning-of-text token.
    """
    affixes = prompt_affixes(tokenizer)
    if bos is None:
        return affixes, False
    if affixes.is_bare:
        return affixes, tokenizer.encode(_MESSAGE, add_special_tokens=True)[:1] == [bos]
    rest = affixes.prefix.removeprefix(tokenizer.decode([bos], skip_special_tokens=False))
    # some tokenizers encode a word at the start of a text differently from the same word after a special token
    whole, after = (tokenizer.encode(prefix + _MESSAGE + affixes.suffix) for prefix in (affixes.prefix, rest))
    adds_bos = rest != affixes.prefix and whole == [bos, *after]
    return (replace(affixes, prefix=rest) if adds_bos else affixes), adds_bos
