"""What a cache remembers of its stores; a damaged or missing file costs only time."""

from __future__ import annotations

from qairt.engine.shared_store.memory import MEMORY_FILE, Memory


def test_it_is_there_for_the_next_process(tmp_path):
    memory = Memory(tmp_path, "s3://b")
    assert (memory.is_there("id", "a"), memory.is_damaged("id", "d"), memory.rate) == (False, False, None)
    memory.found("id", "a")
    memory.damaged("id", "d")
    for seconds in (1.0, 2.0, 4.0):
        memory.measured(100, seconds)
    again = Memory(tmp_path, "s3://b")
    assert again.is_there("id", "a")
    assert again.is_damaged("id", "d")
    assert again.rate == 50
    again.repaired("id", "d")
    assert not Memory(tmp_path, "s3://b").is_damaged("id", "d")


def test_another_store_is_another_one(tmp_path):
    memory = Memory(tmp_path, "s3://b")
    memory.found("id", "a")
    memory.measured(100, 1.0)
    assert not memory.is_there("filled anew", "a")
    assert Memory(tmp_path, "file:/x").rate is None


def test_damaged_lines_and_a_folder_that_is_not_there(tmp_path):
    (tmp_path / MEMORY_FILE).write_text(
        '{"store": 3}\n{"url": "s3://b", "rate": "fast"}\nnot json\n{"store": "id", "acti'
    )
    memory = Memory(tmp_path, "s3://b")
    assert memory.rate is None
    memory.found("id", "a")
    assert Memory(tmp_path, "s3://b").is_there("id", "a")
    Memory(tmp_path / "away", "s3://b").found("id", "a")
    assert not (tmp_path / "away").exists()
