"""Phones, boards and laptops with an NPU: what is put there, how it is run, what comes back."""
