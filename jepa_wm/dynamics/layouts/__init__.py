"""Layouts of published world models' predictors, one file each."""
