"""Running what was made: sessions over chained parts, text generation, and its measures."""
