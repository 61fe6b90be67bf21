"""Weights that other programs quantized: each format's packed tensors, read as the float weight they stand for.

One file a format. Every weight is checked from the headers when a model is opened, and unpacked when it is read, a band
of rows at a time. Values are rounded to the type that the format's own code computes in: mostly that of the scales.
"""
