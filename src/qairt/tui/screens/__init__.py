"""Screens. Each is constructed with what it shows, owns its state, and posts messages."""
