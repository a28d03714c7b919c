"""What `jepa-wm shards` does: one verb a file."""
