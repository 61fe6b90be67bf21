"""The folder that a device runs: what is written into it, and whether it is right."""
