"""Parts of screens: they know their data and post messages, nothing else."""
