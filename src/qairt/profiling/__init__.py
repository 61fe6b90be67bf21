"""How long things took and how much memory they had: snapshots, true peaks, a report."""

from qairt.profiling.observer import StageProfilerObserver
from qairt.profiling.profiler import MemoryEvent, Report, ResourceProfiler
from qairt.profiling.resources import Sample, Sampler, sample

__all__ = ["MemoryEvent", "Report", "ResourceProfiler", "Sample", "Sampler", "StageProfilerObserver", "sample"]
