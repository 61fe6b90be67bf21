"""Measured on calibration text: ranges, energies, Gram matrices."""
