"""A fake phone behind a fake adb server that speaks the real protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_adb import FakeAdbServer, serving
from fake_phone import FakePhone
from tiny_fixtures import config, hf_model, parameters, tiny_directory

from qairt.device.adb import AdbDevice, find_device


@pytest.fixture
def phone(tmp_path: Path) -> FakePhone:
    return FakePhone(tmp_path / "phone")


@pytest.fixture
def server(phone: FakePhone, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAdbServer]:
    """A server with that phone, which the environment points to; there is no `adb` to start another."""
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    monkeypatch.setenv("PATH", str(phone.root))
    with serving(phone) as server:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        yield server


@pytest.fixture
def device(server: FakeAdbServer) -> AdbDevice:
    return find_device(None)
