"""Parts of screens. They know their data and post messages, nothing else."""
