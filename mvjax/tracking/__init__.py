"""Writers of metrics and files: JSON lines, TensorBoard, MLflow, Weights & Biases."""
