"""Tokenizers from a directory and from a GGUF file give the ids of the tokenizer they were made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as FastTokenizer
from transformers import PreTrainedTokenizerFast

from qairt.errors import ModelError
from qairt.model.tokenizer import Tokenizer

CORPUS = ["the quick brown fox jumps over the lazy dog", "She'll say: it's 1234 o'clock!\n\n", "naïve café, don't"] * 3
TEXTS = [
    "the quick dog",
    "  two  spaces\tand a tab\r\n\n 98765 it'S",
    "日本語 🤗 naïve",
    "<|im_start|>user\nhi<|im_end|>",
    "",
]
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
ROLES = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level_bpe(pre: str) -> FastTokenizer:
    """A tokenizer as the models' own tokenizer.json files have it, trained on a few words."""
    whole_words = pre == "llama-bpe"
    tokenizer = FastTokenizer(models.BPE(ignore_merges=whole_words))
    expression = {"llama-bpe": WORDS + r"\p{N}{1,3}" + REST, "qwen2": WORDS + r"\p{N}" + REST}.get(pre)
    if expression is not None:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(expression), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    else:
        digits = [pre_tokenizers.Digits(individual_digits=True)] if pre == "smollm" else []
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=350, special_tokens=SPECIAL, initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if whole_words:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
        )
    return tokenizer


def write_vocabulary(
    path: Path, fast: FastTokenizer, kind: str, pre: str | None, *, pools: bool = False, **fields: Any
) -> None:
    model = json.loads(fast.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(kind)
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in (*SPECIAL, "<s>", "</s>") else 1 for token in tokens])
    if kind == "gpt2":
        writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_chat_template(CHATML)
    else:
        writer.add_token_scores([-float(number) for number in range(len(tokens))])
        writer.add_unk_token_id(0)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
    if pools:
        writer.add_pooling_type(gguf.PoolingType.MEAN)
    for key, value in fields.items():
        writer.add_bool(f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


@pytest.fixture
def smollm(tmp_path: Path) -> Tokenizer:
    write_vocabulary(tmp_path / "m.gguf", byte_level_bpe("smollm"), "gpt2", "smollm")
    return Tokenizer.from_gguf(tmp_path / "m.gguf")


@pytest.mark.parametrize("pre", ["smollm", "gpt-2", "llama-bpe", "qwen2"])
def test_byte_level_bpe_of_a_gguf(pre: str, tmp_path: Path) -> None:
    original = byte_level_bpe(pre)
    write_vocabulary(tmp_path / "m.gguf", original, "gpt2", pre)
    tokenizer = Tokenizer.from_gguf(tmp_path / "m.gguf")
    for text in TEXTS:
        for special in (False, True):
            expected = original.encode(text, add_special_tokens=special).ids
            assert tokenizer.encode(text, add_special_tokens=special) == expected
        assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=False) == text
    assert tokenizer.settings["add_bos_token"] is (pre == "llama-bpe")
    assert tokenizer.fast.get_vocab_size() == original.get_vocab_size()


@pytest.mark.parametrize("prefix", [True, False])
def test_sentence_piece_of_a_gguf(prefix: bool, tmp_path: Path) -> None:
    original = FastTokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    spaces = normalizers.Replace(" ", "▁")
    original.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces] if prefix else [spaces])
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False)
    original.train_from_iterator(CORPUS, trainer)
    original.add_special_tokens([AddedToken(token, normalized=False) for token in ("<s>", "</s>")])
    write_vocabulary(tmp_path / "m.gguf", original, "llama", None, add_space_prefix=prefix)
    tokenizer = Tokenizer.from_gguf(tmp_path / "m.gguf")
    for text in ("the quick dog", " lazy  fox", "日本語 🤗", "naïve don't"):
        ids = tokenizer.encode(text)
        assert ids == original.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text, add_special_tokens=True) == [1, *ids]
        assert tokenizer.decode(ids) == text
        assert "".join(tokenizer.decode_stream(ids)) == text


@pytest.mark.parametrize("pools", [True, False])
def test_a_text_for_an_embedding_model_begins_and_ends_as_the_file_says(pools: bool, tmp_path: Path) -> None:
    """As in EmbeddingGemma's; files of generating models state an end too, and their texts go on."""
    original = byte_level_bpe("qwen2")
    write_vocabulary(
        tmp_path / "m.gguf", original, "gpt2", "qwen2", pools=pools, add_bos_token=True, add_eos_token=True
    )
    tokenizer, text = Tokenizer.from_gguf(tmp_path / "m.gguf"), "the quick dog"
    whole = [1, *original.encode(text).ids, *([2] if pools else [])]
    assert tokenizer.encode(text, add_special_tokens=True) == whole
    assert tokenizer.encode(text) == whole[1 : len(whole) - pools]


def test_stream_waits_for_whole_characters(smollm: Tokenizer) -> None:
    ids = smollm.encode("a 🤗 b")
    pieces = list(smollm.decode_stream(iter(ids)))
    assert "".join(pieces) == "a 🤗 b"
    assert not any("\ufffd" in piece for piece in pieces)
    assert len(pieces) < len(ids)


def test_stream_gives_what_decode_gives_even_when_cut_inside_a_character(smollm: Tokenizer) -> None:
    ids = smollm.encode("a 🤗")[:-1]
    assert "".join(smollm.decode_stream(ids)) == smollm.decode(ids)
    assert list(smollm.decode_stream([])) == []


def test_special_tokens_are_left_out_of_text(smollm: Tokenizer) -> None:
    ids = smollm.encode("<|im_start|>user\nhi<|im_end|>")
    assert ids[0] == smollm.fast.token_to_id("<|im_start|>") == 1
    assert smollm.decode(ids) == "user\nhi"


def test_save_and_read_back(smollm: Tokenizer, tmp_path: Path) -> None:
    files = smollm.save(tmp_path / "a")
    assert [file.name for file in files] == [
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
    ]
    again = Tokenizer.open(tmp_path / "a")
    for text in TEXTS:
        assert again.encode(text) == smollm.encode(text)
    for first, second in zip(files, again.save(tmp_path / "b"), strict=True):
        assert first.read_bytes() == second.read_bytes()
    # transformers reads what we write
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path / "a")
    assert theirs.encode(TEXTS[1]) == smollm.encode(TEXTS[1])
    messages = [{"role": "user", "content": "Paris?"}]
    expected = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert smollm.apply_chat_template(messages) == expected


def test_chat_template(smollm: Tokenizer) -> None:
    messages = [{"role": "user", "content": "Paris?"}]
    prompt = "<|im_start|>user\nParis?<|im_end|>\n<|im_start|>assistant\n"
    assert smollm.apply_chat_template(messages) == prompt
    assert (
        smollm.apply_chat_template(messages, add_generation_prompt=False) == prompt[: -len("<|im_start|>assistant\n")]
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ bos_token }}{{ messages | tojson }}", '<|im_start|>[{"role": "user", "content": "é<"}]'),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "é<"),
        ("{% for m in messages %}\n    {% if loop.first %}x{% break %}{% endif %}\n{% endfor %}", "x"),
    ],
)
def test_templates_render_as_in_transformers(template: str, expected: str, smollm: Tokenizer) -> None:
    messages = [{"role": "user", "content": "é<"}]
    theirs = PreTrainedTokenizerFast(tokenizer_object=smollm.fast, chat_template=template, **ROLES)
    assert Tokenizer(smollm.fast, dict(ROLES), template).apply_chat_template(messages) == expected
    assert theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == expected


@pytest.mark.parametrize(
    ("template", "what", "use"),
    [
        (
            "{{ raise_exception('roles must alternate') }}",
            "the chat template rejects these messages: roles must alternate",
            "the roles that the model supports",
        ),
        (
            "{{ messages.__class__.__mro__ }}",
            "the chat template cannot render these messages: access to attribute '__class__' of 'list' object is"
            " unsafe.",
            "the template that was published with the model",
        ),
        (
            "{% for %}",
            "the chat template is not Jinja: line 1: Expected an expression, got 'end of statement block'",
            "the template that was published with the model",
        ),
    ],
)
def test_a_template_that_fails_or_escapes(template: str, what: str, use: str, smollm: Tokenizer) -> None:
    with pytest.raises(ModelError) as raised:
        Tokenizer(smollm.fast, {}, template).apply_chat_template([])
    assert str(raised.value) == f"{what}\n  use {use}, or a prompt without a template"


def test_no_chat_template(smollm: Tokenizer) -> None:
    with pytest.raises(ModelError) as raised:
        Tokenizer(smollm.fast, {}, None).apply_chat_template([])
    assert str(raised.value) == (
        "the model has no chat template\n  use a prompt without a template, or an instruction-tuned model"
    )


@pytest.mark.parametrize("place", ["config", "named", "jinja", "json"])
def test_where_a_template_may_stand(place: str, smollm: Tokenizer, tmp_path: Path) -> None:
    smollm.fast.save(str(tmp_path / "tokenizer.json"))
    settings: dict[str, Any] = {"bos_token": {"content": "<|im_start|>"}}
    if place == "config":
        settings["chat_template"] = "x"
    elif place == "named":
        settings["chat_template"] = [{"name": "tool_use", "template": "y"}, {"name": "default", "template": "x"}]
    elif place == "jinja":
        settings["chat_template"] = "y"
        (tmp_path / "chat_template.jinja").write_text("x")
    else:
        (tmp_path / "chat_template.json").write_text('{"chat_template": "x"}')
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = Tokenizer.from_directory(tmp_path)
    assert tokenizer.chat_template == "x"
    assert tokenizer.special_token("bos_token") == "<|im_start|>"
    assert tokenizer.special_token("eos_token") is None


def test_padding_and_truncation_saved_with_a_model_are_ignored(smollm: Tokenizer, tmp_path: Path) -> None:
    fast = byte_level_bpe("smollm")
    fast.enable_truncation(3)
    fast.enable_padding(length=10)
    fast.save(str(tmp_path / "tokenizer.json"))
    text = "the quick brown fox jumps"
    assert Tokenizer.from_directory(tmp_path).encode(text) == smollm.encode(text)


def test_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(ModelError) as raised:
        Tokenizer.from_directory(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path}: the model directory has no tokenizer.json; tokenizer.model is not supported\n"
        "  write one with transformers: AutoTokenizer.from_pretrained(…).save_pretrained(directory)"
    )
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="not a tokenizer: "):
        Tokenizer.from_directory(tmp_path)


def test_unsupported_gguf_tokenizers(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_vocabulary(path, byte_level_bpe("smollm"), "bert", None)
    with pytest.raises(ModelError) as raised:
        Tokenizer.open(path)
    assert str(raised.value) == (
        f"{path}: a GGUF tokenizer of kind 'bert' is not supported\n  supported: gpt2 (byte-level BPE), "
        "llama (SentencePiece BPE); or use the model directory that the file was converted from"
    )
    write_vocabulary(path, byte_level_bpe("smollm"), "gpt2", "poro-chat")
    with pytest.raises(ModelError) as raised:
        Tokenizer.open(path)
    assert str(raised.value) == (
        f"{path}: the GGUF pre-tokenizer 'poro-chat' is not supported\n  supported: gpt-2, smollm, llama-bpe, llama3, "
        "llama-v3, qwen2, deepseek-r1-qwen, tekken; or use the model directory that the file was converted from"
    )
