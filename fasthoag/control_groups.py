"""The control groups of Linux that this process is in: where a container's limits are written."""

import os
from pathlib import Path

PROC = Path("/proc/self")


def groups_of(kind, proc=PROC):
    """The folders of the control group of this process that shares out this (``"cpu"``,
    ``"memory"``), of version 1 or 2, and of those that it is in; none on other systems."""
    if not (proc / "cgroup").exists():
        return []
    lines = (proc / "cgroup").read_text().splitlines()
    paths = {kinds: path for _, kinds, path in (line.split(":", 2) for line in lines)}
    mounts = (proc / "mountinfo").read_text().splitlines()
    return [group for line in mounts for group in _groups_at(line, kind, paths)]


def _groups_at(mount, kind, paths):
    """Those that a line of mountinfo has mounted."""
    where, _, what = mount.partition(" - ")
    root, point = where.split()[3:5]
    system, _, options = what.split(" ", 2)
    if system == "cgroup2":
        path = paths.get("", "/")
    elif system == "cgroup" and kind in options.split(","):
        path = next((path for kinds, path in paths.items() if kind in kinds.split(",")), "/")
    else:
        return []
    # Within a container the path may be as the host sees it: then the group is what is mounted.
    inner = Path("/", os.path.relpath(path, root)) if Path(path).is_relative_to(root) else Path("/")
    return [Path(point, *one.parts[1:]) for one in (inner, *inner.parents)]
