"""Costs that are kept, and what is expected from them."""

from __future__ import annotations

import json

import pytest

from qairt.engine.plan.costs import NOTHING, Cost, CostHistory, size_bucket

LIKE = {"size": 20, "tools": "qnn 2.7", "host": "box7"}


def cost(seconds: float, **changes: object) -> Cost:
    fields = {
        "stage": "convert",
        "label": "ar1",
        "key": "k",
        "seconds": seconds,
        "peak_rss": 100,
        "bytes": 7,
        "time": 1,
    }
    return Cost(**(fields | LIKE | changes))


def history(folder, *costs: Cost) -> CostHistory:
    kept = CostHistory(folder)
    for each in costs:
        kept.add(each)
    return CostHistory(folder)


def test_all_costs_are_kept_and_the_last_ten_count(tmp_path):
    found = history(tmp_path, *(cost(float(seconds)) for seconds in [1000, 1000, *range(1, 11)]))
    expected = found.expect("convert", "ar1", **LIKE)
    assert (expected.seconds, expected.low, expected.high, expected.samples) == (5.5, 3.25, 7.75, 10)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 12


def test_memory_is_the_largest_and_bytes_the_latest(tmp_path):
    found = history(tmp_path, cost(1, peak_rss=300, bytes=1), cost(2, peak_rss=200, bytes=2))
    expected = found.expect("convert", "ar1", **LIKE)
    assert (expected.peak_rss, expected.bytes, expected.seconds, expected.samples) == (300, 2, 1.5, 2)


def test_what_is_most_alike_counts(tmp_path):
    costs = [cost(1), cost(2, host="other"), cost(4, host="other", tools="old"), cost(8, size=21, host="other")]
    for number, seconds in enumerate((1, 2, 4, 8)):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert history(folder, *costs[number:]).expect("convert", "ar1", **LIKE).seconds == seconds
    assert history(tmp_path / "0").expect("convert", "ar8", **LIKE) == NOTHING
    assert history(tmp_path / "0").expect("quantize", "ar1", **LIKE) == NOTHING


def test_another_size_counts_in_proportion_to_the_estimates(tmp_path):
    found = history(tmp_path, cost(8, size=21, estimate=4))
    assert found.expect("convert", "ar1", **LIKE, estimate=2.0).seconds == 4.0
    assert found.expect("convert", "ar1", **LIKE).seconds == 8.0  # nothing to compare by


def test_a_stage_shows_how_wrong_its_estimates_are(tmp_path):
    found = history(tmp_path, cost(6, estimate=2), cost(8, estimate=4), cost(100))
    assert found.scale("convert") == 2.5
    assert found.scale("quantize") is None


def test_a_torn_last_line_does_not_swallow_the_next_cost(tmp_path):
    kept = history(tmp_path, cost(1))
    path = tmp_path / "history.jsonl"
    path.write_bytes(path.read_bytes() + b'{"stage": "convert", "lab')
    kept.add(cost(3))
    assert CostHistory(tmp_path).expect("convert", "ar1", **LIKE).samples == 2
    assert path.read_bytes().endswith(b"}\n")


def test_records_of_an_older_version_are_read(tmp_path):
    old = {"stage": "convert", "label": "ar1", "key": "k", "seconds": 5, "peak_rss": 9, "bytes": 1, "time": 0}
    lines = ["not json", "", "[]", json.dumps({"stage": 1}), json.dumps(old)]
    (tmp_path / "history.jsonl").write_text("\n".join(lines) + "\n")
    assert CostHistory(tmp_path).expect("convert", "ar1", **LIKE).seconds == 5


@pytest.mark.parametrize(("size", "bucket"), [(-1, 0), (0, 0), (1, 1), (1023, 10), (1024, 11), (2047, 11)])
def test_size_buckets(size, bucket):
    assert size_bucket(size) == bucket
