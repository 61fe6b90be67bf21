"""ONNX graphs: building, binding AR and CL, splitting, separating heads, quantizing."""
