"""What all tests share."""

import os

# Set before torch is imported anywhere: the tests' tensors are too small for threads to help.
os.environ.setdefault("OMP_NUM_THREADS", "1")
