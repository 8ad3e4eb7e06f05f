"""Data: sources of records, the batches made of them, and checks of both."""
