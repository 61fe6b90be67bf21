"""Quantize-dequantize (QDQ) graphs."""
