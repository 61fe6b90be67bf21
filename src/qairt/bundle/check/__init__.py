"""What is wrong with a bundle: files, graphs, configurations, tokenizer."""
