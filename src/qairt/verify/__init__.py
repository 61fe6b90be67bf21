"""The fidelity ladder: each stage's graphs compared with the float model."""
