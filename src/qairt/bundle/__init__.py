"""The folder that runs on a device: composing and checking it."""
