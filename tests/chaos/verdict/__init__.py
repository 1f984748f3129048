"""What is after a run, against what must be."""
