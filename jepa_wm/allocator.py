"""Memory that is kept between the steps of a training on a CPU."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> bool:
    """Have glibc keep what tensors free, and give it to the next ones; where there is no glibc, nothing is done.

    By default it hands every large block back to the kernel and asks for it anew, zeroed, page by page: some 60,000
    page faults in a step of ViT-S, a twelfth of its time (`benchmarks.pretrain`). The peak stays what it was.

    Returns:
        Whether it is done.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = {M_MMAP_THRESHOLD: 2**30, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 * 2**20}
    return all(libc.mallopt(name, value) == 1 for name, value in settings.items())
