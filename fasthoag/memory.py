"""How much memory this process may use, and how much of it what is read may take."""

import os
from dataclasses import dataclass

from fasthoag.control_groups import PROC, groups_of

NO_LIMIT = 2**62


@dataclass(frozen=True)
class Limit:
    """What rows may take in memory: `max_bytes` in all, of which other files took `used`."""

    max_bytes: int
    used: int = 0

    @property
    def left(self):
        return max(0, self.max_bytes - self.used)

    def after(self, *arrays):
        """The limit for what is read beside these arrays."""
        return Limit(self.max_bytes, self.used + sum(array.nbytes for array in arrays))

    def error(self, what):
        """The ValueError that says of `what`, such as a line, that it takes too much."""
        return ValueError(
            f"{what} take more memory than max_bytes={self.max_bytes} allows; give a larger "
            "max_bytes (--max-memory), dtype float32, or fewer rows."
        )


def limit_of(max_bytes):
    """The limit that was asked for; by default half of the memory, as whoever fits a model to rows
    holds them twice."""
    if max_bytes is None:
        return Limit(memory_of_process() // 2)
    return Limit(min(max_bytes, NO_LIMIT))  # The parser counts in 64 bits.


def memory_of_process():
    """The memory in bytes that this process may use: that of the machine, of its control group, or
    what ``ulimit -v`` says."""
    return min(NO_LIMIT, *_physical(), *_address_space(), *limits_of_groups())


def _physical():
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):  # On Windows allocations will tell.
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _address_space():
    if os.name == "posix":
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            yield soft


def limits_of_groups(proc=PROC):
    """The limits of the control groups that this process is in, of which every one counts."""
    for group in groups_of("memory", proc):
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (group / name).exists():
                text = (group / name).read_text().strip()
                if text.isdigit():  # else "max"
                    yield int(text)
