"""What is in a key of a library, and what is recorded beside it."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from qairt.engine import libraries
from qairt.engine.cache.entry import Entry
from qairt.engine.libraries import made_with, made_with_by_stage, minor_versions
from qairt.machine import cpu_instructions, cpu_name


@pytest.mark.parametrize(
    ("installed", "minor"), [("2.9.1+cpu", "2.9"), ("2.9", "2.9"), ("1.22.0rc1", "1.22"), ("3", "3")]
)
def test_a_key_holds_the_minor_version(monkeypatch: pytest.MonkeyPatch, installed: str, minor: str) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: installed)
    libraries._version.cache_clear()
    assert minor_versions(("torch",)) == {"torch": minor}
    libraries._version.cache_clear()


def test_a_package_that_is_missing_is_said_so() -> None:
    assert minor_versions(("no-such-package",)) == {"no-such-package": "not installed"}


def test_the_record_holds_what_may_change_the_last_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in libraries.CHANGING_NUMBERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    assert made_with(()) == {}
    assert made_with(("numpy",)) == {
        "numpy": metadata.version("numpy"),
        "processor": cpu_name(),
        "instructions": cpu_instructions(),
        "ATEN_CPU_CAPABILITY": "avx2",
    }


def test_what_differs_here_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in libraries.CHANGING_NUMBERS:
        monkeypatch.delenv(name, raising=False)

    def entry(stage: str, made: dict[str, str]) -> Entry:
        return Entry(Path(), "a", stage, "all", "2026-01-01", {}, {}, 1.0, 0, 0, made_with=made)

    here = made_with(("numpy",))
    other = here | {"numpy": "0.1.2", "instructions": "AVX", "MKL_CBWR": "COMPATIBLE"}
    found = made_with_by_stage([entry("a", here), entry("b", here), entry("c", {}), entry("d", other)])
    processor, numpy = cpu_name(), here["numpy"]
    assert found == [
        ("a, b", f"numpy {numpy}, processor {processor}, instructions {cpu_instructions()}"),
        (
            "d",
            f"numpy 0.1.2 (here {numpy}), processor {processor}, instructions AVX (here {cpu_instructions()}),"
            " MKL_CBWR COMPATIBLE",
        ),
    ]
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    assert made_with_by_stage([entry("a", here)])[0][1].endswith("(here MKL_CBWR AVX2)")
