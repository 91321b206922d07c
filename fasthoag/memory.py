"""How much memory this process may use."""

import os
import sys


def bytes_of_memory():
    """Bytes of the memory of this machine."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", ()):
        return sys.maxsize  # On Windows the first allocation will tell.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
