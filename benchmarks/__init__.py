"""Measurements against the peers; each is `python -m benchmarks.<name>` and prints JSON on its last line."""
