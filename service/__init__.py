"""The HTTP service: predictions, similar cases and class activation maps from models/classifier.onnx."""
