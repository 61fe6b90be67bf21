"""LoRA adapters: what is stored, checked, as matrices of the decoder's own linears."""
