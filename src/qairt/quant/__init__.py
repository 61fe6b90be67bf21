"""Quantization: encodings, the calibration that measures, and the techniques that choose."""
