"""Operator tables: nested time counts once, so the rows add up to the time they cover."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pytest
import torch
from tiny_parameters import tiny_parameters

from qairt.stages.float_profile.operators import BETWEEN, OperatorCall, OperatorTable, calls_of, operator_table
from qairt.stages.float_profile.operators_text import TOP, operators_markdown
from qairt.stages.float_profile.passes import PREFILL, Profiled, ReferenceOnDevice, profile, torch_threads

REGION = "region"


def table(*calls: OperatorCall, wall_ms: float = 1.0) -> OperatorTable:
    return operator_table(calls, REGION, phase="phase", wall_ms=wall_ms)


def self_us(found: OperatorTable) -> dict[str, float]:
    return {row.name: round(1e3 * row.self_ms, 6) for row in found.operators}


def test_nested_calls_count_once():
    found = table(
        OperatorCall(REGION, 1, 0, 100),
        OperatorCall("matmul", 1, 10, 60),
        OperatorCall("mm", 1, 20, 50),
        OperatorCall("empty", 1, 25, 30),
        OperatorCall("add", 1, 70, 80),
    )
    assert self_us(found) == {BETWEEN: 40, "mm": 25, "matmul": 20, "add": 10, "empty": 5}
    assert found.self_ms == pytest.approx(0.1)
    totals = {row.name: round(1e3 * row.total_ms, 6) for row in found.operators}
    assert totals == {BETWEEN: 100, "matmul": 50, "mm": 30, "add": 10, "empty": 5}


def test_a_recursive_call_counts_once_in_the_total():
    found = table(
        OperatorCall(REGION, 1, 0, 100),
        OperatorCall("to", 1, 10, 50),
        OperatorCall("copy", 1, 12, 48),
        OperatorCall("to", 1, 15, 40),
    )
    (row,) = [row for row in found.operators if row.name == "to"]
    assert (row.calls, row.self_ms, row.total_ms) == (2, pytest.approx(0.029), pytest.approx(0.04))
    assert found.self_ms == pytest.approx(0.1)


def test_a_call_that_ends_after_its_caller_is_clipped():
    found = table(
        OperatorCall(REGION, 1, 0, 100),
        OperatorCall("a", 1, 10, 50),
        OperatorCall("b", 1, 20, 50.5),
        OperatorCall("c", 1, 90, 101),
        OperatorCall("d", 1, 50, 60),
    )
    assert self_us(found) == {BETWEEN: 40, "b": 30, "a": 10, "d": 10, "c": 10}
    assert found.self_ms == pytest.approx(0.1)


def test_other_threads_and_calls_outside_the_region_are_left_out():
    found = table(
        OperatorCall(REGION, 1, 0, 100),
        OperatorCall("here", 1, 10, 20),
        OperatorCall("beside", 2, 10, 90),
        OperatorCall("after", 1, 100, 300),
    )
    assert self_us(found) == {BETWEEN: 90, "here": 10}


def test_regions_with_the_same_name_are_added_up():
    found = table(
        OperatorCall(REGION, 1, 0, 10),
        OperatorCall("mm", 1, 2, 5, flops=7),
        OperatorCall(REGION, 1, 50, 70),
        OperatorCall("mm", 1, 55, 60, flops=8),
    )
    assert self_us(found) == {BETWEEN: 22, "mm": 8}
    assert found.flops == 15
    assert next(row.calls for row in found.operators if row.name == "mm") == 2


def test_memory_belongs_to_the_call_that_allocated_it():
    found = table(
        OperatorCall(REGION, 1, 0, 100, memory=700),
        OperatorCall("matmul", 1, 10, 60, memory=1000),
        OperatorCall("mm", 1, 20, 50, memory=1200),
    )
    assert {row.name: row.memory for row in found.operators} == {BETWEEN: -300, "matmul": -200, "mm": 1200}
    assert [row.name for row in found.by_memory()] == ["mm"]
    assert sum(row.memory for row in found.operators) == 700


def test_gpu_time_is_not_part_of_the_sum():
    found = table(OperatorCall(REGION, 1, 0, 100), OperatorCall("mm", 1, 10, 20, device=400))
    assert found.self_ms == pytest.approx(0.1)
    assert next(row.device_ms for row in found.operators if row.name == "mm") == pytest.approx(0.4)
    assert "| GPU ms |" in operators_markdown([found])


def test_markdown_has_the_top_rows_and_one_row_for_the_rest():
    names = [f"aten::op|{place}" for place in range(TOP + 5)]
    calls = [OperatorCall(name, 1, 10 * place, 10 * place + 5, memory=1000) for place, name in enumerate(names)]
    found = table(OperatorCall(REGION, 1, 0, 1000), *calls, wall_ms=1.01)
    text = operators_markdown([found])
    assert "## phase: by self time" in text
    assert "Sum of self times 1.000 ms; wall time 1.010 ms." in text
    assert "| aten::op\\|0 | 1 | 0.005 | 0.5% | 0.005 |  |" in text
    assert "| 6 others | 6 | 0.030 | 3.0% |  |  |" in text
    assert "GPU ms" not in text
    assert "## phase: by memory allocated, net" in text


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trace") / "trace.json.gz"


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory, trace: Path) -> Profiled:
    """A real profile of a tiny model, two prompts."""
    folder = tmp_path_factory.mktemp("model")
    parameters = tiny_parameters(folder, num_hidden_layers=4, max_position_embeddings=256)
    model = ReferenceOnDevice(parameters)
    model.load()
    prompts = [list(range(3, 90)), list(range(5, 40))]
    with torch_threads(1):
        # The work takes milliseconds: a context switch between the clock and the profiler is more than 2 % of that.
        for _ in range(5):
            found = profile(model, prompts, eos_ids=(), max_new_tokens=12, trace=trace, cuda=False)
            if all(abs(one.self_ms - one.wall_ms) < 0.015 * one.wall_ms for one in found.tables):
                break
        return found


def test_a_real_profile_adds_up_to_the_wall_time_it_covers(profiled: Profiled):
    assert [found.phase for found in profiled.tables] == ["prefill", "decode"]
    for found in profiled.tables:
        assert found.self_ms == pytest.approx(found.wall_ms, rel=0.02), found.phase
        assert found.self_ms == pytest.approx(sum(row.self_ms for row in found.operators))
        assert all(row.self_ms >= 0 for row in found.operators)
        assert all(row.total_ms >= row.self_ms - 1e-6 for row in found.operators)
        # Total times contain their callees' time again, so they must not be added up.
        assert sum(row.total_ms for row in found.operators) > found.wall_ms
    decode = {row.name: row for row in profiled.tables[1].operators}
    assert decode["aten::mm"].calls == 2 * 11 * (4 * 7 + 1)


def test_times_of_large_operators_agree_with_torch():
    a = torch.rand(200, 200)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        started = time.perf_counter()
        with torch.profiler.record_function(REGION):
            for _ in range(30):
                a = (a @ a).softmax(-1)
        wall = 1e3 * (time.perf_counter() - started)
    found = operator_table(calls_of(profiler.events()), REGION, phase="x", wall_ms=wall)
    by_torch = {event.key: event.self_cpu_time_total / 1e3 for event in profiler.key_averages()}
    for row in found.operators:
        if row.name != BETWEEN and row.self_ms > 0.05:
            assert row.self_ms == pytest.approx(by_torch[row.name], rel=0.02), row.name


def test_the_trace_can_be_opened(profiled: Profiled, trace: Path):
    names = [event.get("name") for event in json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]]
    assert names.count(PREFILL) == 2
    assert "aten::mm" in names
