"""What a device is, and whether it can run what was compiled."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from qairt.device.base import Device
from qairt.errors import DeviceError
from qairt.toolchain.soc import SOCS, Soc

_ASK = """\
if command -v getprop >/dev/null 2>&1; then
  echo system=android; echo "release=$(getprop ro.build.version.release)"
  echo "abis=$(getprop ro.product.cpu.abilist)"; echo "chip=$(getprop ro.soc.model)"
else
  echo "system=$(uname -s)"; echo "release=$(. /etc/os-release 2>/dev/null; echo "$ID")"
  echo "chip=$(cat /sys/devices/soc0/machine 2>/dev/null)"
fi
case $(uname -s) in MINGW*|MSYS*)
  echo "system=windows"; echo "architecture=$PROCESSOR_ARCHITECTURE $PROCESSOR_IDENTIFIER"
  key='HKLM\\HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0'
  echo "chip=$(reg query $key //v ProcessorNameString 2>/dev/null | sed -n 's/.*REG_SZ *//p')";;
esac
echo "machine=$(uname -m)"
if command -v sha256sum >/dev/null 2>&1; then echo hashing=yes; fi
mkdir -p {folder} 2>&1 | sed 's/^/refused=/'
if [ -d {folder} ] && [ -w {folder} ]; then echo writable=yes; fi
"""

_64_BIT_ARM = ("aarch64", "arm64")
WINDOWS = "windows"
_LAPTOPS = {"X1E": "SC8380XP", "X1P": "SC8380XP", "X2E": "SC8480XP"}
"""Chips by what Windows calls their processor: `Snapdragon(R) X Elite - X1E78100 - …`."""


@dataclass(frozen=True)
class DeviceFacts:
    """A device as it describes itself."""

    system: str
    """`android`, `windows`, or as `uname -s` says it."""
    release: str
    """Android's version, or the name of a Linux distribution."""
    machine: str
    abis: tuple[str, ...]
    """What an Android runs programs of; empty on others."""
    chip: str
    """`SM8650`; empty where the device does not say it."""
    hashing: bool
    """There is `sha256sum`."""

    @property
    def soc(self) -> Soc | None:
        """The chip, if it is one we know; makers append letters to its name."""
        name = self.chip.upper()
        for processor, chip in _LAPTOPS.items():
            if processor in name:
                return SOCS[chip]
        known = [soc for soc in SOCS.values() if name.startswith(soc.name)]
        return max(known, key=lambda soc: len(soc.name), default=None)

    @property
    def is_64_bit_arm(self) -> bool:
        return "arm64-v8a" in self.abis if self.abis else self.machine.lower() in _64_BIT_ARM


def ask(device: Device, folder: str) -> DeviceFacts:
    """What the device says of itself, in one call; makes `folder`.

    Raises:
        DeviceError: it cannot be reached, or may not write there.
    """
    finished = device.run(_ASK.replace("{folder}", shlex.quote(folder)))
    said = dict(line.split("=", 1) for line in finished.text.splitlines() if "=" in line)
    if not said.get("machine"):
        told = finished.err.decode(errors="replace").strip().splitlines()
        raise DeviceError(
            f"its shell does not answer as expected: {told[-1] if told else finished.text.strip() or 'nothing'}",
            where=device.name,
            remedy="it needs a POSIX shell: Android, Linux, or Windows with Git for Windows and its sh on PATH",
        )
    if "writable" not in said:
        raise DeviceError(
            f"this user may not write there: {said.get('refused', 'permission denied')}",
            where=f"{device.name}, {folder}",
            remedy="give a folder in which it may: --device-folder DIR",
        )
    return DeviceFacts(
        system=said.get("system", ""),
        release=said.get("release", ""),
        machine="aarch64" if "ARM" in said.get("architecture", "") else said["machine"],
        abis=tuple(filter(None, said.get("abis", "").split(","))),
        chip=said.get("chip", "").strip(),
        hashing="hashing" in said,
    )


def require_fit(facts: DeviceFacts, compiled_for: Soc, where: str) -> list[str]:
    """Whether binaries compiled for a chip can run on a device.

    Returns:
        What the user should know though it may work.

    Raises:
        DeviceError: they cannot.
    """
    if not facts.is_64_bit_arm:
        what = ", ".join(facts.abis) or facts.machine
        x86 = "86" in what
        raise DeviceError(
            f"it runs {what} programs; the NPU's runtime is for 64-bit Arm",
            where=where,
            remedy="an emulator has no NPU: take a phone or board with a Snapdragon"
            if x86
            else "a 64-bit system is needed",
        )
    chip = facts.soc
    if chip is None:
        named = f"its chip ({facts.chip}) is not one we know" if facts.chip else "it does not say which chip it has"
        return [f"{where}: {named}; the binaries are for {compiled_for.name} (HTP v{compiled_for.htp})"]
    if chip.htp < compiled_for.htp:
        raise DeviceError(
            f"it is too old for these binaries: they are for {compiled_for.name} (HTP v{compiled_for.htp}), it has"
            f" {chip.name} (HTP v{chip.htp})",
            where=where,
            remedy=f"compile for it: soc_details=chipset:{chip.name}, then `qairt run`",
        )
    if chip.name != compiled_for.name:
        same = "the same NPU" if chip.htp == compiled_for.htp else f"a newer NPU (HTP v{chip.htp})"
        return [
            f"{where} has {chip.name}, {same}; the binaries are for {compiled_for.name}. If it refuses them, compile"
            f" with soc_details=chipset:{chip.name}"
        ]
    return []
