"""Tuning on the whole model: distillation, mixed precision."""
