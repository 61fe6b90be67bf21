"""The terminal interface: a Textual app driven by a run's events. Nothing outside this package imports Textual."""
