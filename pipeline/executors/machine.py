"""What this machine, or the container that this process runs in, has to give."""

import os
from pathlib import Path

_LIMITS = Path("/sys/fs/cgroup")


def cpus() -> int:
    """Return how many CPUs this process may keep busy: a container may have a part of the machine's only."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _limit("cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        own = min(own, int(quota) // int(period))
    return max(1, own)


def free_memory() -> int:
    """Return how many bytes may still be taken; where nobody says, more than there can be."""
    try:
        free = os.sysconf("SC_PAGE_SIZE") * _available_pages()
    except (ValueError, OSError, AttributeError):  # not every system knows these names
        free = 2**62
    most, used = _limit("memory.max"), _limit("memory.current")
    if most.isdigit() and used.isdigit():
        free = min(free, int(most) - int(used))
    return max(0, free)


def _available_pages() -> int:
    """Free pages, and those that the kernel gives up when asked (proc_meminfo(5), MemAvailable)."""
    for line in _text(Path("/proc/meminfo")).splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024 // os.sysconf("SC_PAGE_SIZE")
    return os.sysconf("SC_AVPHYS_PAGES")


def _limit(name: str) -> str:
    """A limit of this process's control group (cgroups(7), version 2); empty where there is none."""
    return _text(_LIMITS / name).strip()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
