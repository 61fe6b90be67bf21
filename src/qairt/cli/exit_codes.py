"""What a script learns from how qairt ended."""

DONE = 0
FAILED = 1
"""A run failed, or something it needs."""
USAGE = 2
"""The command, the recipe or an override is wrong; nothing was started."""
TOOLCHAIN_MISSING = 3
INTERRUPTED = 130
"""Ctrl-C or SIGTERM; finished items are kept."""
