"""Random numbers that are a function of what they are for, and of nothing else."""

import zlib

import numpy as np


def generator(purpose: str, *numbers: int) -> np.random.Generator:
    """A generator of its own for each purpose and each tuple of numbers.

    NumPy pads its seeds with zeros, so that [1, 0] and [1, 0, 0] give the same stream: without the purpose
    in front, the order of shards and that of the samples in the first window would be one and the same.
    """
    # As 32-bit words, which NumPy takes as they are; a list of integers it would convert in Python, for twice the time.
    words = np.array([zlib.crc32(purpose.encode()), *numbers], np.uint64).view(np.uint32)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))
