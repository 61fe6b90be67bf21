"""How good a model is: metrics by name, on the float model, the simulated encodings or the real graphs.

Perplexity and the other text metrics follow one rule:

1. A text is tokenized whole, without a beginning-of-text token, and cut into chunks of `context_length` tokens that do
   not overlap; the rest at its end is not used. Of N requested chunks, chunk i is number `i * all // N`.
2. Every chunk starts with an empty context. Its first token is not predicted; tokens 2 … `context_length` are.
3. A score is the mean over all predicted tokens of all chunks, not a mean of the chunks' scores.

This is what Hugging Face's models return as the loss of `model(input_ids=chunk, labels=chunk)`, over all chunks.
"""
