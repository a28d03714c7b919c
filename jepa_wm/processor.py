"""The processor that this runs on."""

import platform
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """Its name, where the system is Linux and tells it; elsewhere what kind it is, such as "arm64"."""
    found = re.search(r"^model name\s*: (.+)$", CPUINFO.read_text(), re.MULTILINE) if CPUINFO.is_file() else None
    return found[1].strip() if found else platform.processor() or platform.machine()
