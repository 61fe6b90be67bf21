"""Fixtures of the engine's tests that live in tests/support."""

from toy_outputs import drawings
