"""Training: Lightning, and the only code that knows it."""
