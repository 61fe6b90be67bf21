"""Paths, and ids on the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from qairt.errors import ModelError
from qairt.model.locate import locate_model


def test_a_path_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate_model("owner/name") == tmp_path / "owner" / "name"


@pytest.mark.parametrize("name", ["/no/such/place", "a/b.gguf", "one-word", "a/b/c", "../x"])
def test_what_cannot_be_an_id_is_not_asked_for(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as raised:
        locate_model(name)
    assert str(raised.value) == f"{name}: no such model\n  use a model directory, a .gguf file or an id `owner/name`"


def test_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as raised:
        locate_model("owner/no-such-model")
    first, remedy = str(raised.value).splitlines()
    assert first.startswith("owner/no-such-model: no such path, and not available from the Hugging Face hub: ")
    assert remedy == (
        "  check the spelling and the network (a gated model needs `hf auth login`), "
        "or download it elsewhere and use its directory"
    )


def test_a_model_in_the_hub_cache_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    repository, commit = tmp_path / "models--owner--name", "0123456789abcdef0123456789abcdef01234567"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (snapshot / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="not available from the Hugging Face hub"):
        locate_model("owner/name")  # only the configuration is there
    (snapshot / "model.safetensors").write_bytes(b"")
    assert locate_model("owner/name") == snapshot
    assert locate_model(f"owner/name@{commit}") == snapshot


def test_without_the_hub_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError) as raised:
        locate_model("owner/name-of-a-model")
    assert str(raised.value) == (
        "owner/name-of-a-model: no such path, and Hugging Face ids need the package huggingface-hub\n"
        "  pip install 'qairt[hub]', or download the model and use its directory"
    )
