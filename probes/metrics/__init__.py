"""How alike two representations are: one metric a file, its function named like the file.

A metric is a pure function `(x (n, dx), y (n, dy)) -> Score` of the same n samples, symmetric, 1 on
identical input. Its module lists in `INVARIANCES` exactly which of these, done to x and y apart
(permutation: jointly), leave its value unchanged: "rotation", "scale", "translation", "permutation".
The contract test walks this folder, so a new metric is one new file.
"""
