"""ONNX work: build, bind, split, one head at a time, quantize-dequantize."""
