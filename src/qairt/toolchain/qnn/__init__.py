"""The compiler, DLC writer and x86 emulator in the wheel `onnxruntime-qnn`."""
