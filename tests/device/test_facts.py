"""What a device says of itself, and what is refused before anything is sent."""

from __future__ import annotations

import pytest
from fake_phone import HOME

from qairt.device.facts import ask, require_fit
from qairt.errors import DeviceError
from qairt.toolchain.soc import SOCS

PLACE = f"{HOME}/qairt/toy-1"
SM8650 = SOCS["SM8650"]


def test_a_phone(device, phone):
    facts = ask(device, PLACE)
    assert (facts.system, facts.release, facts.machine) == ("android", "14", "aarch64")
    assert facts.abis == ("arm64-v8a", "armeabi-v7a", "armeabi")
    assert facts.soc == SM8650
    assert facts.hashing
    assert phone.here(PLACE).is_dir()
    assert require_fit(facts, SM8650, device.name) == []


def test_a_board_has_no_properties(device, phone):
    phone.without = ("getprop", "sha256sum")
    facts = ask(device, PLACE)
    assert (facts.system, facts.abis, facts.hashing) == ("Linux", (), False)
    assert facts.is_64_bit_arm


@pytest.mark.parametrize(
    ("abis", "machine", "what", "remedy"),
    [
        ("armeabi-v7a,armeabi", "aarch64", "armeabi-v7a, armeabi", "a 64-bit system is needed"),
        ("x86_64,x86", "x86_64", "x86_64, x86", "an emulator has no NPU"),
        (None, "armv7l", "armv7l", "a 64-bit system is needed"),
        (None, "x86_64", "x86_64", "an emulator has no NPU"),
    ],
)
def test_another_architecture(device, phone, abis, machine, what, remedy):
    phone.machine = machine
    if abis is None:
        phone.without = ("getprop",)
    else:
        phone.properties["ro.product.cpu.abilist"] = abis
    with pytest.raises(DeviceError) as caught:
        require_fit(ask(device, PLACE), SM8650, device.name)
    assert caught.value.what == f"it runs {what} programs; the NPU's runtime is for 64-bit Arm"
    assert remedy in str(caught.value.remedy)


def test_a_device_too_old_for_the_binary(device, phone):
    phone.properties["ro.soc.model"] = "SM8550"
    with pytest.raises(DeviceError) as caught:
        require_fit(ask(device, PLACE), SM8650, device.name)
    assert caught.value.what == (
        "it is too old for these binaries: they are for SM8650 (HTP v75), it has SM8550 (HTP v73)"
    )
    assert caught.value.remedy == "compile for it: soc_details=chipset:SM8550, then `qairt run`"


@pytest.mark.parametrize(
    ("chip", "note"),
    [
        ("SM8750P", "has SM8750, a newer NPU (HTP v79); the binaries are for SM8650"),
        ("MT6989", "its chip (MT6989) is not one we know; the binaries are for SM8650 (HTP v75)"),
        ("", "it does not say which chip it has; the binaries are for SM8650 (HTP v75)"),
    ],
)
def test_what_may_work_is_noted(device, phone, chip, note):
    phone.properties["ro.soc.model"] = chip
    (told,) = require_fit(ask(device, PLACE), SM8650, device.name)
    assert note in told


def test_a_folder_that_cannot_be_made(device):
    with pytest.raises(DeviceError) as caught:
        ask(device, "/proc/qairt")
    assert caught.value.what.startswith("this user may not write there: mkdir: ")
    assert "--device-folder" in str(caught.value.remedy)


def test_no_posix_shell(device, phone):
    phone.without = ("uname",)
    with pytest.raises(DeviceError) as caught:
        ask(device, PLACE)
    assert "its shell does not answer as expected" in caught.value.what
