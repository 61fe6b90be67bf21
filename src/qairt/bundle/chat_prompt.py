"""A model's chat template as the text before and after one user's words: what a script without Jinja needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from qairt.errors import ModelError
from qairt.model.tokenizer import Tokenizer

_WORDS = "qairt-user-words"
AROUND = "The model's chat template, up to the user's words and from there on."
_NONE = "The model has no chat template: the prompt goes to it as it is."
LOST = (
    "The model's chat template is more than text around the user's words, so it is not in this script: the prompt goes "
    "to the model as it is. Put it into the template (chat_template.jinja) before."
)


@dataclass(frozen=True)
class AroundUser:
    """What a script puts around the user's words."""

    before: str
    after: str
    note: str
    """What the two are, or why they are empty."""

    @property
    def is_bare(self) -> bool:
        """The words go to the model as they are."""
        return not self.before and not self.after

    @property
    def warning(self) -> str | None:
        """What whoever runs the script must know."""
        return LOST if self.note == LOST else None


def around_user(tokenizer: Tokenizer) -> AroundUser:
    """Nothing stands around the words for a model without a chat template, or one whose template does not repeat them
    once as they are."""
    if tokenizer.chat_template is None:
        return AroundUser("", "", _NONE)
    try:
        before, after = tokenizer.apply_chat_template([{"role": "user", "content": _WORDS}]).split(_WORDS)
    except (ModelError, ValueError):
        return AroundUser("", "", LOST)
    return AroundUser(before, after, AROUND)


def genie_prompt(tokenizer: Tokenizer, begin: int | None) -> tuple[AroundUser, bool]:
    """What stands around the user's words when Genie gets them, and whether Genie is to put the beginning-of-text token
    before that: it does so wherever its configuration names one, also before one that is there.

    Args:
        begin: the model's beginning-of-text token.
    """
    around = around_user(tokenizer)
    if begin is None:
        return around, False
    if around.is_bare:
        return around, tokenizer.encode(_WORDS, add_special_tokens=True)[:1] == [begin]
    text = tokenizer.decode([begin], skip_special_tokens=False)
    rest = around.before.removeprefix(text)
    # some tokenizers read the first word of a text as another token than the same word after a special token
    whole, after = (tokenizer.encode(start + _WORDS + around.after) for start in (around.before, rest))
    begins = rest != around.before and whole == [begin, *after]
    return (replace(around, before=rest) if begins else around), begins
