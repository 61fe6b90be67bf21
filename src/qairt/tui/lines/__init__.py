"""Text of screens, without widgets."""
