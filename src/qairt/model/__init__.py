"""Decoders: configuration, weights read tensor by tensor, and the computation, written once."""
