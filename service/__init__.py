"""The HTTP service: predictions, similar cases and explanations from models/classifier.onnx."""
