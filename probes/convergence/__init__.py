"""Do encoders converge as they train? Alignment of every pair over checkpoints, beside what each of them knows."""
