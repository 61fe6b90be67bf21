"""Genie, the vendor's runtime."""
