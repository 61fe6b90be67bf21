"""The tiny model."""

from tiny_fixtures import config, hf_model, parameters, tiny_directory, tokenizer
