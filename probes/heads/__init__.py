"""Probes that are trained: one kind of head a file, each chosen on `val` and tested once."""
