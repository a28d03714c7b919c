"""Memory that is freed comes back without page faults."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys, torch
from jepa_wm.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for number in range(16):
    if number == 12:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""Faults of four tensors of 64 MiB, once those before them have found their place in the heap."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_memory_that_was_freed_is_taken_again_without_asking_the_kernel() -> None:
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", CODE, mode], capture_output=True, text=True, check=True).stdout)
        for mode in ("keep", "leave")
    }
    assert faults["keep"] < faults["leave"] / 4
