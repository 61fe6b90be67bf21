"""The name that every model has among its LoRA concurrencies. Imports nothing, so that a plan can use it."""

BASE = "base"
"""The concurrency without adapters."""
