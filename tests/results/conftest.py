"""Fixtures of the tests in this folder."""

from toy_outputs import drawings
