"""GGUF files: header, configuration, names, tokenizer, weights."""
