"""What shows a run on the shell while it is going: JSON, lines, or a live region."""
