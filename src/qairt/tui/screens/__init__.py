"""Screens: each gets what it shows when it is made, and posts messages."""
