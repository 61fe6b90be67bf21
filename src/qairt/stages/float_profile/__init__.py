"""Profiling the float model: the stages `torch_profiler` and `nsys`."""
