"""Quantization: encodings, calibration, and the techniques that choose them."""
