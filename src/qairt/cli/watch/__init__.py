"""What watches a run on the shell: JSON, lines, or a live region."""
