"""Verbs of the package, each in a process of its own, as a user starts them."""

import os
import subprocess
import sys


def verb(*arguments: str, alone: bool = False, quiet: bool = False) -> None:
    """Run `jepa-wm` with these arguments.

    Args:
        arguments: the verb, and its options.
        alone: on one core, so that two side by side do not disturb each other.
        quiet: leave out what it prints.

    Raises:
        CalledProcessError: if it fails.
    """
    threads = {"OMP_NUM_THREADS": "1"} if alone else {}
    out = subprocess.DEVNULL if quiet else None
    subprocess.run([sys.executable, "-m", "jepa_wm", *arguments], check=True, env=os.environ | threads, stdout=out)
