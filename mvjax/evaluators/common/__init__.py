"""What the protocols share: features by name, scores, probes, files of codes."""
