"""The HTP compiler of the wheel `onnxruntime-qnn`."""
