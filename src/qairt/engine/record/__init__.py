"""The record of a run: its events, its state, its folder, and the files about all runs."""
