"""Samples of a real process tree."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
from wait import until

from qairt.profiling.resources import ResourceSampler, TreeMeter, sample

MB = 2**20
EATER = """
import sys
held = bytearray({size})
held[::4096] = b"x" * len(held[::4096])
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def child():
    """A process that holds 60 MB until it is told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", EATER.format(size=60 * MB)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    end(process)


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(timeout=20)


def test_children_count(child):
    meter = TreeMeter()
    with_child = meter.sample().ram
    alone = sample(child.pid).ram
    assert 60 * MB < alone < 100 * MB
    end(child)
    assert with_child - meter.sample().ram > 50 * MB


def test_a_process_that_ended_uses_nothing(child):
    meter = TreeMeter(child.pid)
    end(child)
    assert meter.sample().ram == 0


def test_cpu_is_what_was_used_since_the_last_sample():
    meter = TreeMeter(os.getpid())
    meter.sample()
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    assert meter.sample().cpu_percent > 10


def test_without_a_gpu_there_is_no_number():
    from qairt.profiling.gpu import nvml_module

    if nvml_module() is not None:
        pytest.skip("there is a GPU here")
    found = sample()
    assert (found.gpu_memory, found.gpu_memory_total, found.gpu_percent) == (None, None, None)


def test_the_sampler_sees_memory_while_it_is_held():
    seen = []
    sampler = ResourceSampler(0.01, seen.append)
    sampler.start()
    before = sampler.sample().ram
    held = bytearray(80 * MB)
    held[::4096] = b"x" * len(held[::4096])
    count = len(seen)
    until(lambda: len(seen) >= count + 2, 20)
    del held
    after = sampler.sample().ram
    sampler.stop()
    sampler.join()
    assert max(found.ram for found in seen) - max(before, after) > 70 * MB
    assert not [thread for thread in threading.enumerate() if thread.name == "resource sampler"]
