"""What a device needs of the SDK is found, or named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_device_sdk import make_device_sdk

from qairt.device.facts import DeviceFacts
from qairt.device.sdk_files import GENIE, sdk_files
from qairt.errors import ToolchainNotAvailable
from qairt.toolchain.soc import SOCS

PHONE = DeviceFacts("android", "14", "aarch64", ("arm64-v8a",), "SM8650", True)


def test_programs_libraries_and_those_of_the_npu(tmp_path):
    root = make_device_sdk(tmp_path / "sdk")
    found = sdk_files(root, [GENIE], PHONE, SOCS["SM8650"])
    assert {name: str(path.relative_to(root)) for name, path in found.items()} == {
        "tool/genie-t2t-run": "bin/aarch64-android/genie-t2t-run",
        "tool/libGenie.so": "lib/aarch64-android/libGenie.so",
        "tool/libQnnHtp.so": "lib/aarch64-android/libQnnHtp.so",
        "tool/libQnnHtpNetRunExtensions.so": "lib/aarch64-android/libQnnHtpNetRunExtensions.so",
        "tool/libQnnSystem.so": "lib/aarch64-android/libQnnSystem.so",
        "tool/libQnnHtpV75Stub.so": "lib/aarch64-android/libQnnHtpV75Stub.so",
        "tool/libQnnHtpV75Skel.so": "lib/hexagon-v75/unsigned/libQnnHtpV75Skel.so",
    }


@pytest.mark.parametrize(
    ("release", "there", "taken"),
    [
        ("ubuntu", "aarch64-ubuntu-gcc9.4", "aarch64-ubuntu-gcc9.4"),
        ("poky", "aarch64-oe-linux-gcc11.2", "aarch64-oe-linux-gcc11.2"),
        ("ubuntu", "aarch64-oe-linux-gcc11.2", "aarch64-oe-linux-gcc11.2"),
    ],
)
def test_a_board_gets_the_libraries_of_its_system(tmp_path, release, there, taken):
    root = make_device_sdk(tmp_path / "sdk", platform=there)
    board = replace(PHONE, system="Linux", release=release, abis=())
    found = sdk_files(root, [GENIE], board, SOCS["SM8650"])
    assert found["tool/libGenie.so"] == root / "lib" / taken / "libGenie.so"


def test_all_that_is_missing_is_named(tmp_path):
    root = make_device_sdk(tmp_path / "sdk")
    (root / "lib" / "aarch64-android" / "libGenie.so").unlink()
    with pytest.raises(ToolchainNotAvailable) as caught:
        sdk_files(root, [GENIE], PHONE, SOCS["SM8750"])
    assert caught.value.what == (
        "the SDK lacks what SM8750 (HTP v79) needs: lib/aarch64-android/libGenie.so,"
        " lib/aarch64-android/libQnnHtpV79Stub.so, lib/hexagon-v79/unsigned/libQnnHtpV79Skel.so"
    )
    assert "QAIRT_SDK_ROOT" in str(caught.value.remedy)
