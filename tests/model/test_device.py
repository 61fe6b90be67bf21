from __future__ import annotations

import pytest
import torch

from qairt.errors import ToolchainNotAvailable
from qairt.model.device import torch_device


def test_auto_is_a_gpu_where_torch_can_use_one() -> None:
    assert torch_device() == ("cuda" if torch.cuda.is_available() else "cpu")
    assert torch_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["cuda", "cuda:7"])
def test_a_gpu_that_is_not_there_is_an_error(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ToolchainNotAvailable) as error:
        torch_device(device)
    assert f"there is no GPU {device}: torch {torch.__version__} can use none" in str(error.value)
    assert "execution_environment.device" in str(error.value)


def test_a_gpu_beyond_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert torch_device("cuda:1") == "cuda:1"
    with pytest.raises(ToolchainNotAvailable, match="can use 2"):
        torch_device("cuda:2")
