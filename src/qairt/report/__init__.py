"""The report of the latest run on one page, from its events, its cache and stored measurements.

Nothing is computed again, and neither torch nor a compiler is loaded.
"""
