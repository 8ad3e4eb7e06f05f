"""Data sets: each file offers `spec(split=..., **options)` and a class `Source`."""
