"""Quantize-dequantize graphs."""
