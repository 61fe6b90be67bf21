"""Sizes and times as people read them."""

import pytest

from qairt.amounts import about, age, compact, count, duration, option_size, parse_size, size


@pytest.mark.parametrize(
    ("given", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (28_400_000, "28 MB"), (999_700_000, "1.00 GB"), (1.24e9, "1.24 GB"),
     (22e9, "22 GB")],
)  # fmt: skip
def test_size(given, shown):
    assert size(given) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [(0.3, "0.3 s"), (99.94, "99.9 s"), (99.96, "1 min 40 s"), (298, "4 min 58 s"), (3720, "1 h 02 min")],
)
def test_duration(given, shown):
    assert duration(given) == shown


def test_estimates_claim_no_tenths():
    assert [about(s) for s in (2, 38.4, 298)] == ["2.0 s", "38 s", "4 min 58 s"]
    assert [compact(s) for s in (2, 38.4, 298, 7500)] == ["2.0 s", "38 s", "298 s", "125 min"]


def test_age_and_count():
    assert [age(s) for s in (-1, 1, 59, 3600, 200_000)] == ["0 seconds", "1 second", "59 seconds", "1 hour", "2 days"]
    assert [count(1, "entry", "entries"), count(2000, "entry", "entries")] == ["1 entry", "2,000 entries"]


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("8G", 8 * 10**9), ("500MB", 5 * 10**8), ("1.5 GiB", 3 * 2**29), ("16gib", 16 * 2**30), ("1024", 1024)],
)
def test_parse_size(text, bytes_):
    assert parse_size(text) == bytes_


@pytest.mark.parametrize(
    ("needed", "option"),
    [(999, "999"), (1_000_001, "1001K"), (3_012_400, "3013K"), (24_012_300_000, "24013M"), (2 * 10**12 + 1, "2001G")],
)
def test_the_option_that_allows_a_size(needed, option):
    assert option_size(needed) == option
    assert parse_size(option) >= needed


@pytest.mark.parametrize("text", ["", "8X", "G", "-1G", "8iB", "1,5G"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match=r"is not a size; write for example 8G, 500M or 16GiB"):
        parse_size(text)


def test_no_memory_at_all():
    with pytest.raises(ValueError, match=r"'0' is not above zero"):
        parse_size("0")
