"""The texts whose vectors are compared."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from qairt.errors import RecipeError
from qairt.model.tokenizer import Tokenizer
from qairt.verify.genie_vectors import text_of

END = 256


@pytest.fixture
def letters() -> Tokenizer:
    """A token a byte, and an end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    fast = FastTokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)} | {"<|end|>": END}, []))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens(["<|end|>"])
    fast.post_processor = TemplateProcessing(single="$A <|end|>", special_tokens=[("<|end|>", END)])
    return Tokenizer(fast, {}, None)


def test_a_text_is_as_long_as_the_graph_reads(letters: Tokenizer) -> None:
    ids = letters.encode("The quick brown fox")
    assert text_of(letters, ids, 10) == "The quick"
    assert text_of(letters, [*ids[:3], END, *ids[3:]], 10) == "The quick", "special tokens are not text"
    assert text_of(letters, ids, 100) == "The quick brown fox"
    assert len(letters.encode(text_of(letters, letters.encode("naïve café"), 4), add_special_tokens=True)) <= 4


def test_no_word_fits(letters: Tokenizer) -> None:
    with pytest.raises(RecipeError) as caught:
        text_of(letters, letters.encode("The quick brown fox"), 1)
    assert str(caught.value) == (
        "stages.prepare_exports.context_length: no word of the recorded text fits 1 token with those that the"
        " tokenizer adds\n  set a larger context length and run again"
    )
