"""GPU use, with drivers that report everything, a part, or nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from qairt.profiling import gpu
from qairt.profiling.gpu import GpuMeter, GpuUse

GB = 2**30


class Driver:
    """NVML of a machine with two GPUs; queries are counted."""

    def __init__(self, processes=((), ()), *, slices: bool = False) -> None:
        self.processes, self.slices, self.looks = processes, slices, 0

    def nvmlDeviceGetCount(self):
        self.looks += 1
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetMemoryInfo(self, device):
        return SimpleNamespace(total=16 * GB, used=5 * GB)

    def nvmlDeviceGetUtilizationRates(self, device):
        if self.slices:
            raise RuntimeError("Not Supported")
        return SimpleNamespace(gpu=10 + 50 * device)

    def nvmlDeviceGetComputeRunningProcesses(self, device):
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes[device]]


def use_of(monkeypatch, driver, *pids: int) -> GpuUse:
    monkeypatch.setattr(gpu, "nvml_module", lambda: driver)
    return GpuMeter().sample(pids)


def test_memory_is_the_trees_and_use_that_of_the_busiest(monkeypatch):
    driver = Driver((((1, 2 * GB), (9, 3 * GB)), ((2, GB),)))
    assert use_of(monkeypatch, driver, 1, 2) == GpuUse(3 * GB, 32 * GB, 60.0)
    assert use_of(monkeypatch, driver, 77) == GpuUse(0, 32 * GB, 60.0)


def test_a_gpu_in_mig_mode_does_not_report_its_use(monkeypatch):
    assert use_of(monkeypatch, Driver((((1, GB),), ()), slices=True), 1) == GpuUse(GB, 32 * GB, None)


def test_memory_that_the_driver_does_not_report_is_not_zero(monkeypatch):
    assert use_of(monkeypatch, Driver((((1, None), (2, GB)), ())), 1, 2).memory is None


def test_in_a_container_that_hides_pids_it_is_not_zero_either(monkeypatch):
    monkeypatch.setattr(gpu, "_computes", lambda pid: pid == 1)
    driver = Driver((((4711, GB),), ()))
    assert use_of(monkeypatch, driver, 1, 2).memory is None
    assert use_of(monkeypatch, driver, 2).memory == 0


def test_a_lost_gpu_reports_nothing(monkeypatch):
    driver = Driver()
    monkeypatch.setattr(driver, "nvmlDeviceGetHandleByIndex", lambda index: 1 / 0)
    assert use_of(monkeypatch, driver, 1) == GpuUse(None, None, None)


def test_the_driver_is_not_asked_all_the_time(monkeypatch):
    driver = Driver()
    monkeypatch.setattr(gpu, "nvml_module", lambda: driver)
    meter = GpuMeter()
    assert [meter.sample([1]).percent for _ in range(5)] == [60.0] * 5
    assert driver.looks == 1


def test_without_a_gpu_nothing_is_reported(monkeypatch):
    assert use_of(monkeypatch, None, 1) == GpuUse(None, None, None)


@pytest.mark.parametrize("pid", [1, 2**22 + 1])
def test_processes_that_cannot_be_inspected_do_not_count(pid):
    assert not gpu._computes(pid)
