from __future__ import annotations

import sys
from types import ModuleType

import pytest

from qairt.errors import EvaluationError
from qairt.evaluate.text_metrics import Perplexity
from qairt.evaluate.texts import chunks_of, text_of


def test_the_text_that_is_shipped(subject_on):
    text = text_of(Perplexity(), subject_on("torch"))
    assert text.name == "dev.txt"
    assert len(text.text) > 100_000
    assert len(text.digest) == 64


def test_no_token_is_added_and_the_rest_is_not_used(subject_on, tmp_path, tokenizer):
    (tmp_path / "short.txt").write_text("x" * 70)
    chunks = chunks_of(Perplexity(dataset="short.txt"), subject_on("torch"))
    assert [len(chunk) for chunk in chunks] == [32, 32]
    assert set(chunks[0]) == set(tokenizer.encode("x"))


@pytest.mark.parametrize(
    ("content", "chunks", "message"),
    [
        (b"few", None, r"^t.txt: the text has 3 tokens, a chunk takes 32\n  give a longer text"),
        (b"x" * 70, 3, r"^t.txt: the text has 70 tokens, 3 chunks take 96\n  ask for at most 2 chunks"),
        (
            b" \n",
            None,
            r"^t.txt: the text is empty\n  give a UTF-8 text file: dataset: FILE in the recipe, or --dataset",
        ),
        (b"ab\xff", None, r"^t.txt: it is not UTF-8 text: byte 2\n"),
    ],
)
def test_texts_that_cannot_be_read(content, chunks, message, subject_on, tmp_path):
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(EvaluationError, match=message):
        chunks_of(Perplexity(dataset="t.txt", chunks=chunks), subject_on("torch"))


def test_the_hub_without_the_package(subject_on, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        EvaluationError, match=r"^wikitext: there is no such file, and .* needs the package datasets"
    ) as e:
        text_of(Perplexity(dataset="wikitext"), subject_on("torch"))
    assert "pip install 'qairt[eval]'" in str(e.value)


class Rows(dict):
    column_names = property(list)


@pytest.fixture
def hub(monkeypatch):
    """A package `datasets` that holds one data set."""
    module = ModuleType("datasets")
    asked = []

    def load_dataset(name, subset, split):
        asked.append((name, subset, split))
        if name != "Salesforce/wikitext":
            raise ConnectionError("cannot reach the hub\nlong story")
        return Rows(text=["", "first", "second"])

    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_a_data_set_of_the_hub(hub, subject_on):
    subject = subject_on("torch")
    assert text_of(Perplexity(dataset="wikitext"), subject).text == "\n\nfirst\n\nsecond"
    text_of(Perplexity(dataset="wikitext", chunks=3), subject)
    assert hub == [("Salesforce/wikitext", "wikitext-2-raw-v1", "test")], "read once"


def test_an_unreachable_hub_and_a_missing_column(hub, subject_on):
    with pytest.raises(
        EvaluationError,
        match=r"^owner/set: there is no such file, and loading it from the Hugging Face hub failed: cannot reach the",
    ):
        text_of(Perplexity(dataset="owner/set"), subject_on("torch"))
    with pytest.raises(
        EvaluationError, match=r"^wikitext: the data set has no column words\n  set column to one of text"
    ):
        text_of(Perplexity(dataset="wikitext", column="words"), subject_on("torch"))
