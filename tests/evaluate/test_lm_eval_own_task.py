"""A task of the user's own, and lm-eval's own Hugging Face backend as the oracle."""

from __future__ import annotations

import json

import pytest

from qairt.evaluate.run import check, evaluate
from qairt.evaluate.tasks import LmEval

pytest.importorskip("lm_eval")


@pytest.fixture
def own_task(tmp_path):
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "one window after another of a text"}) + "\n")
    (tmp_path / "own.yaml").write_text(
        "task: own_text\n"
        "dataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path}/texts.jsonl}}}}\n"
        "test_split: test\n"
        "output_type: loglikelihood_rolling\n"
        "doc_to_text: ''\n"
        "doc_to_target: '{{text}}'\n"
        "metric_list: [{metric: byte_perplexity}]\n"
    )
    return LmEval(task="own_text", include_path=str(tmp_path))


def test_its_folder_is_included(own_task, subject_on, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    subject = subject_on("torch")
    check(own_task, subject)
    (record,) = evaluate([own_task], subject).values()
    assert record.score > 1
