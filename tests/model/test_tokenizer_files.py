"""The files of a tokenizer mean what they mean to transformers; what cannot work is told before a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_templates import BY_FAMILY
from tiny_models import save_tiny
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from qairt.errors import ModelError
from qairt.model.config import DecoderConfig
from qairt.model.describe import describe_model
from qairt.model.tokenizer import Tokenizer
from qairt.model.tokenizer_check import check_tokenizer

TEXTS = ["<|im_start|>user\nhi <|im_end|> there", "a<tool>b <s> </s>", "plain, and <unk> [PAD]"]
MARKS = {"257": {"content": "<|im_start|>", "special": True}, "258": {"content": "<|im_end|>", "special": True}}
ASKED = [
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": "How hot is it in Paris?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "function": {"name": "heat", "arguments": {"city": "Paris", "é": [1]}}}],
    },
    {"role": "tool", "content": "22 °C"},
    {"role": "assistant", "content": "<think>easy</think>\n22 °C."},
    {"role": "user", "content": "And in Rome?"},
]
TOOLS = [{"type": "function", "function": {"name": "heat", "parameters": {"type": "object", "properties": {}}}}]


def write_tokenizer(directory: Path, own: tuple[str, ...] = ("<s>",), **files: Any) -> Path:
    """`tokenizer.json` of 256 bytes and some special tokens, and the files beside it."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    fast = FastTokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens(list(own))
    directory.mkdir(exist_ok=True)
    fast.save(str(directory / "tokenizer.json"))
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return directory


FILES: dict[str, dict[str, Any]] = {
    "tokens of the configuration": {"tokenizer_config": {"added_tokens_decoder": MARKS, "eos_token": "<|im_end|>"}},
    "in the order of their ids": {"tokenizer_config": {"added_tokens_decoder": dict(reversed(MARKS.items()))}},
    "one that tokenizer.json has": {
        "tokenizer_config": {"added_tokens_decoder": {"256": {"content": "<s>", "special": False, "rstrip": True}}}
    },
    "added_tokens.json": {
        "added_tokens": {"<|im_end|>": 258, "<|im_start|>": 257, "<tool>": 259},
        "special_tokens_map": {"eos_token": {"content": "<|im_end|>", "lstrip": True}},
        "tokenizer_config": {"extra_special_tokens": ["<|im_start|>"]},
    },
    "added_tokens.json beside the configuration's": {
        "added_tokens": {"<tool>": 257},
        "special_tokens_map": {"eos_token": "</s>"},
        "tokenizer_config": {"added_tokens_decoder": MARKS},
    },
    "special_tokens_map.json": {
        "special_tokens_map": {"eos_token": "</s>", "additional_special_tokens": ["<tool>"]},
        "tokenizer_config": {"eos_token": "<unk>", "bos_token": "<s>"},
    },
    "named ones that nothing lists": {
        "tokenizer_config": {"pad_token": "[PAD]", "unk_token": {"content": "<unk>", "__type": "AddedToken"}}
    },
    "named ones that are special by name": {
        "tokenizer_config": {"added_tokens_decoder": {"257": {"content": "</s>"}}, "eos_token": "</s>"}
    },
    "none": {},
}


@pytest.mark.parametrize("case", FILES)
def test_files_are_put_together_as_in_transformers(case, tmp_path):
    directory = write_tokenizer(tmp_path / "model", **FILES[case])
    theirs = PreTrainedTokenizerFast.from_pretrained(directory)
    ours = Tokenizer.open(directory)
    ours.save(tmp_path / "bundle")
    bundled = FastTokenizer.from_file(str(tmp_path / "bundle" / "tokenizer.json"))
    for text in TEXTS:
        expected = theirs.encode(text, add_special_tokens=False)
        assert ours.encode(text) == expected
        assert bundled.encode(text, add_special_tokens=False).ids == expected, "what a device reads"
        assert ours.decode(expected) == theirs.decode(expected, skip_special_tokens=True)
    for role in ("bos_token", "eos_token", "unk_token", "pad_token"):
        assert ours.special_token(role) == getattr(theirs, role)
    added = {number: repr(token) for number, token in ours.fast.get_added_tokens_decoder().items()}
    assert added == {number: repr(token) for number, token in theirs.added_tokens_decoder.items()}
    again = Tokenizer.open(tmp_path / "bundle")
    assert again.fast.to_str() == ours.fast.to_str(), "read back, nothing is added any more"


def test_what_is_added_is_told_and_changes_the_key(tmp_path):
    save_tiny(tmp_path, "llama")
    write_tokenizer(tmp_path, **FILES["tokens of the configuration"])
    description = describe_model(tmp_path)
    assert description.notices == (
        "added to the tokens of tokenizer.json, as in transformers: <|im_start|>, <|im_end|>",
    )
    assert description.readings == ("added tokens",)
    assert "added_tokens.json" not in [file.name for file in description.files]


def test_added_tokens_json_counts_only_without_those_of_the_configuration(tmp_path):
    save_tiny(tmp_path, "llama")
    write_tokenizer(tmp_path, added_tokens={"<tool>": 257})
    description = describe_model(tmp_path)
    assert tmp_path / "added_tokens.json" in description.files
    assert description.notices == ("added to the tokens of tokenizer.json, as in transformers: <tool>",)


@pytest.mark.parametrize(
    ("files", "name", "message"),
    [
        (
            {"tokenizer_config": {"added_tokens_decoder": []}},
            "tokenizer_config",
            "added_tokens_decoder is not an object",
        ),
        (
            {"tokenizer_config": {"added_tokens_decoder": {"257": "x"}}},
            "tokenizer_config",
            "added_tokens_decoder: 257 has no content",
        ),
        ({"added_tokens": {"<tool>": "x"}}, "added_tokens", "the id of '<tool>' is 'x'"),
        ({"added_tokens": {"<tool>": True}}, "added_tokens", "the id of '<tool>' is true"),
    ],
)
def test_files_of_another_form_are_refused(files, name, message, tmp_path):
    save_tiny(tmp_path, "llama")
    write_tokenizer(tmp_path, **files)
    with pytest.raises(ModelError) as raised:
        describe_model(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path / name}.json: not a tokenizer's file: {message}\n"
        "  use the tokenizer's files that were published with the model"
    )


# Templates


@pytest.mark.parametrize("add_generation_prompt", [True, False])
@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("family", BY_FAMILY)
def test_templates_of_every_family_render_as_in_transformers(family, tools, add_generation_prompt, tmp_path):
    settings = {"bos_token": "<s>", "eos_token": "</s>", "image_token": "<img>", "chat_template": BY_FAMILY[family]}
    directory = write_tokenizer(tmp_path, tokenizer_config=settings)
    theirs, ours = AutoTokenizer.from_pretrained(directory, use_fast=True), Tokenizer.open(directory)
    expected = theirs.apply_chat_template(
        ASKED, tools=tools, add_generation_prompt=add_generation_prompt, tokenize=False
    )
    assert ours.apply_chat_template(ASKED, tools=tools, add_generation_prompt=add_generation_prompt) == expected
    assert "Rome" in expected


def test_a_template_for_tools(tmp_path):
    named = [{"name": "default", "template": "x"}, {"name": "tool_use", "template": "{{ tools | length }} tools"}]
    directory = write_tokenizer(tmp_path, tokenizer_config={"chat_template": named})
    theirs, ours = PreTrainedTokenizerFast.from_pretrained(directory), Tokenizer.open(directory)
    for tools in (None, TOOLS):
        expected = theirs.apply_chat_template(ASKED, tools=tools, tokenize=False)
        assert ours.apply_chat_template(ASKED, tools=tools, add_generation_prompt=False) == expected


# Whether they fit


def told(tokenizer: Tokenizer, **changes: Any) -> list[str]:
    config = DecoderConfig(
        family="llama",
        vocab_size=260,
        hidden_size=64,
        intermediate_size=96,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=16,
        rms_norm_eps=1e-6,
        rope_theta=1e4,
        eos_token_ids=(256,),
    ).model_copy(update=changes)
    return list(check_tokenizer(tokenizer, config, "model"))


def refused(tokenizer: Tokenizer, **changes: Any) -> str:
    with pytest.raises(ModelError) as raised:
        told(tokenizer, **changes)
    return str(raised.value)


CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def test_a_tokenizer_that_fits(tmp_path):
    settings = {"added_tokens_decoder": MARKS, "eos_token": "<|im_end|>", "chat_template": CHATML}
    assert told(Tokenizer.open(write_tokenizer(tmp_path, tokenizer_config=settings))) == []


def test_marks_that_are_no_tokens_are_told(tmp_path):
    tokenizer = Tokenizer.open(write_tokenizer(tmp_path, tokenizer_config={"chat_template": CHATML}))
    assert told(tokenizer) == [
        "the chat template writes <|im_start|>, which is not a token: the tokenizer splits it into 12",
        "the chat template writes <|im_end|>, which is not a token: the tokenizer splits it into 10",
    ]


def test_a_mark_that_the_model_does_not_have_is_refused(tmp_path):
    settings = {"added_tokens_decoder": MARKS, "chat_template": CHATML}
    tokenizer = Tokenizer.open(write_tokenizer(tmp_path, tokenizer_config=settings))
    assert refused(tokenizer, vocab_size=258) == (
        "model: the chat template writes <|im_end|>, which is token 258, and the model does not have it\n"
        "  use the tokenizer's files that were published with the model"
    )


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('no') }}", "the chat template rejects a plain conversation: no"),
        ("{{ 1 / 0 }}", "the chat template cannot render a plain conversation: division by zero"),
        ("{% for %}", "the chat template is not Jinja: line 1: Expected an expression, got 'end of statement block'"),
    ],
)
def test_a_template_that_renders_nothing_is_told(template, said, tmp_path):
    assert told(Tokenizer.open(write_tokenizer(tmp_path, tokenizer_config={"chat_template": template}))) == [said]


def test_a_tokenizer_of_another_model(tmp_path):
    tokenizer = Tokenizer.open(write_tokenizer(tmp_path))
    assert refused(tokenizer, vocab_size=200) == (
        "model: the tokenizer has 256 tokens, the model 200: it belongs to another model\n"
        "  use the tokenizer's files that were published with the model"
    )
    assert told(tokenizer, vocab_size=32000) == [
        "the tokenizer has 257 tokens, the model 32,000: it may belong to another model"
    ]


def test_a_padding_token_outside_of_the_vocabulary_is_told(tmp_path):
    tokenizer = Tokenizer.open(write_tokenizer(tmp_path, tokenizer_config={"pad_token": "[PAD]"}))
    assert told(tokenizer, vocab_size=257) == [
        "the tokenizer adds tokens whose ids the model (257 tokens) does not have: pad_token [PAD]; a text that "
        "contains them cannot be read"
    ]


def test_end_tokens(tmp_path):
    tokenizer = Tokenizer.open(write_tokenizer(tmp_path))
    assert refused(tokenizer, eos_token_ids=(5000,)) == (
        "model: the model ends texts with token 5,000, which is outside of its vocabulary or unknown to its tokenizer\n"
        "  set eos_token_id in config.json and generation_config.json to the id of the tokenizer's eos_token"
    )
    assert told(tokenizer, eos_token_ids=(256, 259, 2)) == [
        "the end token 259 is outside of the vocabulary or unknown to the tokenizer: no text has it",
        "the end token 2 is the ordinary text '#'",
    ]
    assert told(tokenizer, eos_token_ids=()) == []
