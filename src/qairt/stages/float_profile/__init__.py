"""Profiling the float model."""
