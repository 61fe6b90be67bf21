"""The engine: stages, items, keys, cache, manifest, executor, events. It knows nothing of LLMs or ONNX."""
