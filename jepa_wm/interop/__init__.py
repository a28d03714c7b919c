"""Other packages' solvers, models, worlds and records, met halfway: stable-worldmodel, see docs/interoperation.md."""
