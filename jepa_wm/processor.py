"""The processor that this runs on."""

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """Its name, where the system is Linux and tells it; elsewhere what kind it is, such as "arm64"."""
    if CPUINFO.is_file():
        # A line at a time: the file repeats itself for each core, and this is read at import.
        with CPUINFO.open() as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
