"""The tools of a QAIRT SDK."""
