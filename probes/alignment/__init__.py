"""Alignment of two representations layer by layer, and what chance would give.

`maps.layer_map` is the whole: values of a metric for all pairs of layers, their null by permutation, p-values
corrected for the pairs searched, chance-corrected effects, and an interval of the best pair. The rest serves it.
"""
