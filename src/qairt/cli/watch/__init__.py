"""What shows a run on the shell while it is active: JSON, lines, or a live region."""
