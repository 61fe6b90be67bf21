"""What keys do: objects that act on a `Workspace`."""
