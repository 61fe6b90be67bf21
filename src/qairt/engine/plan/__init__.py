"""What would run, in which order, at what cost, and why."""
