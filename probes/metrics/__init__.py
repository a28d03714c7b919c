"""How alike two representations are: one metric a file, its function named like the file.

A metric is a pure function `(x (n, dx), y (n, dy)) -> Score` of the same n samples, 1 on identical input
unless it says otherwise. Its module lists in `INVARIANCES` exactly which of these, done to x and y apart
(permutation: jointly), leave its value unchanged: "rotation", "scale", "translation", "permutation"; and
in `SYMMETRIC` whether x and y may change places. The contract test walks this folder, so a new metric is
one new file.

Metrics that are calibrated by permutation have three parts more, so that no permutation repeats the work
that a layer needs once: `prepare(x)` does that work, `compare(a, b)` of two prepared layers is the value,
and `relabelled(a, b, order (n,))` is `compare(a, prepare(y[order]))` without preparing anything again.
"""
