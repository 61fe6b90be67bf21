"""The terminal interface: a Textual app over a run's events. Nothing outside this package imports Textual."""
