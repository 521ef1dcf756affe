"""Results of the trained classifier for an image: calibrated probability, decision, typicality, class
activation map, in PyTorch and as one ONNX file; and the table of its predictions.

Imports models, core. `onnx_session.py` and `typicality.py` need no PyTorch.
"""
