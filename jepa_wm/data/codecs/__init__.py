"""How the frames of an episode are stored: one form a file, with `encode` and `decode`."""
