"""External ONNX graphs, adopted instead of exported ones."""
