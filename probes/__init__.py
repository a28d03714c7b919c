"""What a representation knows: probes, health, and metrics between representations."""
