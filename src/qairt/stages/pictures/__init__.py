"""Pictures of graphs and encodings."""
