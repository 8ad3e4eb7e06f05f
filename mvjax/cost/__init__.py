"""What a run costs: measured, counted, and estimated for other machines."""
