"""LoRA adapters: as matrices of the decoder's own linears, checked; and the branches beside these linears."""
