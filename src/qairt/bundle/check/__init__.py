"""Checking a bundle: files, graphs, configuration, tokenizer."""
