"""What is on the device after a delivery: all of it, or nothing that the next one would trust."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_phone import HOME

from qairt.device.delivery import Delivery, Folder
from qairt.errors import DeviceError

PLACE = f"{HOME}/qairt/toy-1"


@pytest.fixture(params=[True, False], ids=["sha256sum", "manifest"])
def hashing(request, phone) -> bool:
    """Devices with and without `sha256sum`."""
    if not request.param:
        phone.without = ("sha256sum",)
    return request.param


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    place = tmp_path / "local"
    (place / "sub").mkdir(parents=True)
    (place / "one").write_bytes(b"1" * 200_000)
    (place / "two").write_bytes(b"2" * 150_000)
    (place / "sub" / "it's three").write_bytes(b"3" * 10)
    return {
        "bundle/one.bin": place / "one",
        "bundle/two.bin": place / "two",
        "tool/three": place / "sub" / "it's three",
    }


@pytest.fixture
def folder(device) -> Folder:
    return Folder(device, PLACE)


def held(phone) -> dict[str, bytes]:
    """What is in the folder, but our own notes."""
    place = phone.here(PLACE)
    found = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    found.pop("manifest", None)
    return found


def as_asked(files) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files.items()}


def test_all_goes_over_once_and_then_only_what_changed(folder, phone, files, hashing):
    first = folder.deliver(files, hashing=hashing)
    assert first == Delivery(sent=3, sent_bytes=350_010, kept=0, total_bytes=350_010)
    assert held(phone) == as_asked(files)
    assert phone.here(f"{PLACE}/tool/three").stat().st_mode & 0o111
    assert str(first) == "sent 3 files, 350 kB"

    phone.received.clear()
    assert str(folder.deliver(files, hashing=hashing)) == "all 3 files are there already (350 kB)"
    assert phone.received == []

    files["bundle/two.bin"].write_bytes(b"x" * 150_000)
    again = folder.deliver(files, hashing=hashing)
    assert (again.sent, again.kept, phone.received) == (1, 2, ["two.bin"])
    assert held(phone) == as_asked(files)
    assert str(again) == "sent 1 file, 150 kB, 2 were there"


def test_what_was_changed_or_lost_on_the_device_is_sent_again(folder, phone, files, hashing):
    folder.deliver(files, hashing=hashing)
    phone.here(f"{PLACE}/bundle/one.bin").write_bytes(b"1" * 199_999)
    phone.here(f"{PLACE}/tool/three").unlink()
    assert folder.deliver(files, hashing=hashing).sent == 2
    assert held(phone) == as_asked(files)


def test_what_is_not_asked_for_any_more_is_removed(folder, phone, files, hashing):
    folder.deliver(files, hashing=hashing)
    del files["bundle/two.bin"]
    folder.deliver(files, hashing=hashing)
    assert held(phone) == as_asked(files)


def test_a_cable_pulled_in_the_middle_leaves_nothing_that_is_trusted(folder, phone, files, hashing):
    phone.cut_after = 250_000  # in the middle of the second file
    with pytest.raises(DeviceError, match="the connection to the device broke"):
        folder.deliver(files, hashing=hashing)
    assert {name.split("/")[0] for name in held(phone)} == {"incoming"}
    phone.received.clear()
    folder.deliver(files, hashing=hashing)
    assert held(phone) == as_asked(files), "nothing half-written, and nothing left in incoming/"
    if hashing:
        assert "one.bin" not in phone.received, "it had arrived whole"


def test_the_old_version_is_not_used_when_the_new_one_did_not_arrive(folder, phone, files, hashing):
    folder.deliver(files, hashing=hashing)
    files["bundle/one.bin"].write_bytes(b"new" * 100_000)
    phone.cut_after = 100_000
    with pytest.raises(DeviceError):
        folder.deliver(files, hashing=hashing)
    assert "bundle/one.bin" not in held(phone)
    folder.deliver(files, hashing=hashing)
    assert held(phone) == as_asked(files)


def test_without_room_nothing_is_sent_and_the_amounts_are_told(folder, phone, files, hashing):
    phone.free_kb = 100
    with pytest.raises(DeviceError) as caught:
        folder.deliver(files, hashing=hashing)
    assert caught.value.what == "there is no room: 350 kB are needed, 102 kB are free"
    assert "--clean" in str(caught.value.remedy)
    assert phone.received == []
    assert list(phone.storage.iterdir()) == []


def test_storage_that_gets_full_meanwhile(folder, phone, files, hashing):
    phone.full_after = 180_000
    with pytest.raises(DeviceError, match="No space left on device"):
        folder.deliver(files, hashing=hashing)
    phone.full_after = None
    folder.deliver(files, hashing=hashing)
    assert held(phone) == as_asked(files)


def test_what_arrives_changed_is_not_used(folder, phone, files):
    def spoil(command: str) -> None:
        arrived = phone.here(f"{PLACE}/incoming/bundle/one.bin")
        if arrived.exists():
            arrived.write_bytes(b"?" * 200_000)

    phone.on_command = spoil
    with pytest.raises(DeviceError, match=r"what arrived is not what was sent: bundle/one.bin"):
        folder.deliver(files, hashing=True)
    assert "bundle/one.bin" not in held(phone)


def test_a_file_service_that_may_not_write(folder, phone, files):
    phone.read_only = True
    with pytest.raises(DeviceError) as caught:
        folder.deliver(files, hashing=True)
    assert "cannot be written: couldn't create file: Permission denied" in caught.value.what
    assert caught.value.remedy == f"adb's shell may write below {HOME} only"


def test_many_files_in_few_commands(folder, phone, tmp_path):
    many = {f"bundle/part_{number:03}.bin": tmp_path / f"{number}" for number in range(41)}
    for path in many.values():
        path.write_text(path.name)
    folder.deliver(many, hashing=True)
    assert held(phone) == as_asked(many)
    assert max(map(len, phone.commands)) < 6000


def test_digests_as_windows_writes_them(folder, phone, files):
    phone.programs["sha256sum"] = '/usr/bin/sha256sum -b "$@"\n'
    assert " *" in folder.shell("printf x | sha256sum")
    folder.deliver(files, hashing=True)
    assert folder.deliver(files, hashing=True).sent == 0
    assert held(phone) == as_asked(files)


def test_size_and_removal(folder, phone, files):
    assert folder.size() == 0
    folder.deliver(files, hashing=True)
    assert 350_000 < folder.size() < 500_000
    folder.remove()
    assert list(phone.storage.iterdir()) == [], "nor the folder around it"
    assert folder.size() == 0
    folder.make("")
    Folder(folder.device, f"{HOME}/qairt/other").make("kept")
    folder.remove_if_empty()
    assert [path.name for path in phone.here(f"{HOME}/qairt").iterdir()] == ["other"]


def test_reading_a_file(folder, phone):
    folder.make("run-1")
    phone.here(f"{PLACE}/run-1/bytes").write_bytes(b"\0\r\n\xff")
    assert folder.read("run-1/bytes") == b"\0\r\n\xff"
    assert folder.read("run-1/none") is None
