"""How many threads the kernels run on.

A process may use the cores that its affinity names, at most the quota of its control groups (a
container's limit); `n_cores` counts them. The default is all of them or, where ``OMP_NUM_THREADS``
or a limit of threadpoolctl says less, that: joblib gives its worker processes their share in this
way. A forked process works on one thread. Calls from several threads of a process share its cores
while they run, and their bits are those of calls alone.
"""

import math
import os
import sys
import threading
import warnings

import numpy as np

from fasthoag import _core
from fasthoag.control_groups import PROC, groups_of


def n_threads_of(asked, name="n_threads", *, warns=True):
    """The number of threads to use where `asked` were asked for: None means the default, -1 all
    cores, -2 all but one and so on. Warns when it is more than there are cores, which are used."""
    check_n_threads(asked, name)
    cores = n_cores()
    _core.share_cores(cores)  # among calls that run at the same time
    if asked is None:
        return min(_core.hardware_threads(), cores)
    if asked < 0:
        return max(1, cores + 1 + int(asked))
    if asked > cores and warns:
        warnings.warn(
            f"{name}={asked} is more than the number of cores that this process may use, {cores}; "
            "so many threads are used",
            stacklevel=stacklevel_of_user(),
        )
    return min(int(asked), cores)


def check_n_threads(asked, name="n_threads"):
    """Raises ValueError unless it is None or an integer that is not 0."""
    is_integer = isinstance(asked, (int, np.integer)) and not isinstance(asked, (bool, np.bool_))
    if asked is not None and not (is_integer and asked != 0):
        raise ValueError(
            f"{name} must be a positive integer, -1 for all cores, or None; got {asked!r}"
        )


def stacklevel_of_user():
    """The stacklevel, for a warning of the caller, of the first line outside of this package and of
    scikit-learn, whose wrappers call `fit`."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(
        ("fasthoag.", "sklearn.")
    ):
        level, frame = level + 1, frame.f_back
    return level


class PerThread:
    """An attribute that is a number of its own in every thread, 0 at first. Copies of its object
    share it."""

    def __set_name__(self, owner, name):
        self._name = f"_{name}_of_threads"

    def __get__(self, instance, owner=None):
        return self if instance is None else self._of(instance).get(threading.get_ident(), 0)

    def __set__(self, instance, value):
        self._of(instance)[threading.get_ident()] = value

    def _of(self, instance):
        return vars(instance).setdefault(self._name, {})


class computed_once:
    """A property that is kept once it is known, as `functools.cached_property` without its lock:
    before Python 3.12 that is one lock for all objects, held while a value is computed, and a
    process that is forked meanwhile inherits it for ever. Two threads may compute the same."""

    def __init__(self, function):
        self._function, self.__doc__ = function, function.__doc__

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        if self._name not in vars(instance):
            vars(instance)[self._name] = self._function(instance)
        return vars(instance)[self._name]


# ---- the cores of this process ----


def n_cores():
    """How many cores this process may use, at least 1."""
    return max(1, math.ceil(min(n_of_affinity(), cpu_quota())))


def n_of_affinity():
    """The cores that this process may run on: under ``taskset`` fewer than the machine has."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(proc=PROC):
    """The cores' worth of time that the control groups of this process allow, infinity without a
    limit. It is read anew, as a limit may change while a process runs."""
    return min(map(quota_of, groups_of("cpu", proc)), default=math.inf)


def quota_of(group):
    """The cores' worth of time of one control group, of version 2 or 1."""
    if (group / "cpu.max").exists():
        quota, period = (group / "cpu.max").read_text().split()
    elif (group / "cpu.cfs_quota_us").exists():
        quota, period = ((group / f"cpu.cfs_{n}_us").read_text() for n in ("quota", "period"))
    else:
        return math.inf
    return math.inf if quota == "max" or int(quota) < 0 else int(quota) / int(period)
