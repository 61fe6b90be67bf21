"""Time and memory of pieces of work: snapshots, sampled peaks, a report."""

from qairt.profiling.observer import StageProfilerObserver
from qairt.profiling.profiler import MemoryEvent, ProfilerReport, ResourceProfiler
from qairt.profiling.resources import ResourceSampler, Sample, sample

__all__ = [
    "MemoryEvent",
    "ProfilerReport",
    "ResourceProfiler",
    "ResourceSampler",
    "Sample",
    "StageProfilerObserver",
    "sample",
]
