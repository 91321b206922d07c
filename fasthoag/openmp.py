"""Loads the kernels so that their idle threads sleep. ``from fasthoag import _core`` comes here.

By default libgomp's threads spin while they wait. On a machine that others use too, a spinning
thread takes the core that the thread it waits for needs: one busy neighbour on 2 cores made a fit
up to 7 times slower. Sleeping costs 10 microseconds a parallel region, while a pass takes
milliseconds. The setting is read once, when the library is loaded, so the caller's environment can
be left as it was."""

import os

_is_unset = "OMP_WAIT_POLICY" not in os.environ
if _is_unset:
    os.environ["OMP_WAIT_POLICY"] = "passive"
try:
    import fasthoag._core as _core  # noqa: F401
finally:
    if _is_unset:
        del os.environ["OMP_WAIT_POLICY"]
