"""The fidelity ladder: each stage's graphs against the float model."""
