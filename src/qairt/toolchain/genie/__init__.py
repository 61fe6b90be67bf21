"""Genie, the vendor's runtime for language models."""
