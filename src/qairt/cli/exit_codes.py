"""What a script can tell from how qairt ended."""

DONE = 0
FAILED = 1
"""A run, or something it needs, failed."""
USAGE = 2
"""The command, the recipe or an override is wrong; nothing was started."""
TOOLCHAIN_MISSING = 3
INTERRUPTED = 130
"""Ctrl-C or SIGTERM; what was finished is kept."""
