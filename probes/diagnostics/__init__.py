"""Whether a world model is one: does it follow actions, does its latent distance lead to goals, what surprises it."""
