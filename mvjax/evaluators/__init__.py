"""Evaluation protocols, one a file, and what they share: features, metrics, probe."""
