"""Pictures, tables and the page of a run; knows nothing of training."""
