"""What a finished run says to people: one page, made of its events, its cache and what was measured of it.

Nothing is computed again, and neither torch nor a compiler is loaded.
"""
