"""One run at a time on one path: a small file that only one of several runs can create.

``_staging/locks/lock.json`` belongs to the run that created it. A lock whose run ended without removing it is *stale*.
A run that proves this, or is told to break the lock, does not remove the file, because another run may be doing the
same. It creates the successor, ``lock-<run id of the stale one>.json``, and only one of several runs can. So the holder
is the run at the end of the chain, and a killed run leaves nothing that has to be undone first. Nothing is decided by a
clock or a listing.
"""

import contextlib
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

from pipeline.errors import UNREADABLE_JSON, PathHeldError, StorageError, TransientError
from pipeline.storage import STAGING, Storage

_LOCKS = "locks"
_FIRST = f"{STAGING}/{_LOCKS}/lock.json"
_LONGEST = 1000
_ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)

log = logging.getLogger(__name__)

_running: set[str] = set()
"""Runs of this process that hold a path."""


class Holder(msgspec.Struct, frozen=True):
    """The holder of a path: the run, and what its own machine needs to recognise the process.

    ``boot`` tells one start of a machine from the next, ``space`` one container from another, ``begun`` one process
    from a later one of the same number. Each is ``""`` where the system does not tell.
    """

    run_id: str
    host: str
    pid: int
    boot: str = ""
    space: str = ""
    begun: str = ""

    def __str__(self) -> str:
        return f"run {self.run_id} (process {self.pid} on {self.host})"

    @property
    def is_gone(self) -> bool:
        """Return whether the process is proven to have ended. Only its own machine can tell."""
        here = this_process(self.run_id)
        if (self.host, self.boot, self.space) != (here.host, here.boot, here.space):
            return False  # another start of the machine is no proof: machines share names
        if self.pid == here.pid and _is_same_start(self.begun, here.begun):
            return self.run_id not in _running  # an earlier run of this very process, which could not release it
        return not _is_alive(self.pid, self.begun)


def _after(holder: Holder) -> str:
    """Return the path of the lock that succeeds this holder's."""
    return f"{STAGING}/{_LOCKS}/lock-{holder.run_id}.json"


def this_process(run_id: str) -> Holder:
    """Return this process as a holder."""
    return Holder(
        run_id=run_id,
        host=socket.gethostname(),
        pid=os.getpid(),
        boot=_boot(),
        space=_container(),
        begun=_begun(psutil.Process()),
    )


class Lock:
    """The lock on the path of an export, for one run."""

    def __init__(self, storage: Storage, run_id: str) -> None:
        self._storage = storage
        self._me = this_process(run_id)
        self.run_id = run_id
        self.path = ""

    def chain(self) -> list[tuple[str, Holder]]:
        """Return lock files and their holders, the valid one last; empty when the path is free."""
        found: list[tuple[str, Holder]] = []
        path = _FIRST
        while len(found) < _LONGEST and (data := self._storage.find(path)) is not None:
            try:
                holder = msgspec.json.decode(data, type=Holder)
            except UNREADABLE_JSON:
                holder = Holder("unknown", "an unknown machine", 0)
            found.append((path, holder))
            path = _after(holder)
        return found

    def acquire(self, *, break_lock: bool = False) -> Holder | None:
        """Take the path and return the run whose stale lock was broken, if any.

        Raises PathHeldError naming the holder when that run may still be at work.
        """
        chain = self.chain()
        stale = chain[-1][1] if chain else None
        if stale is not None and not (break_lock or stale.is_gone):
            raise held(self._storage, stale)
        path = _after(stale) if stale else _FIRST
        _running.add(self._me.run_id)  # before another run can see the file and take its run for one that has ended
        won = False
        try:
            won = self._storage.create_new(path, msgspec.json.encode(self._me))
        finally:
            if not won:
                _running.discard(self._me.run_id)
        if not won:
            after = self.chain()
            raise held(self._storage, after[-1][1] if after else None)
        self.path = path
        return stale

    def check(self) -> None:
        """Raise StorageError when another run has broken this lock: it may be writing here, too."""
        chain = self.chain()
        if not chain or chain[-1][1] != self._me:
            by = chain[-1][1] if chain else "another run"
            raise StorageError(self._storage.url, f"the lock of this run was broken by {by}; this run gives up")

    def is_exclusive(self) -> bool:
        """Return whether the store refuses to create a file twice. Where it does not, two runs do not notice each
        other.
        """
        # Different bytes: a store that finds the same bytes may take them for our own first attempt.
        return not self._storage.create_new(self.path, msgspec.json.encode(self._me) + b"\n")

    def release(self) -> None:
        """Release the path. The end of the chain goes first: from then on the path is free.

        When the store does not answer, the lock stays behind as a stale one, because the run has its own end to report.
        """
        _running.discard(self._me.run_id)
        try:
            chain = self.chain()
            if not chain or chain[-1][1] != self._me:
                return
            mine = {path for path, _ in chain}
            found = [f"{STAGING}/{_LOCKS}/{entry}" for entry in self._storage.entries(f"{STAGING}/{_LOCKS}")]
            lost = [path for path in found if path not in mine and path not in (_FIRST, _after(self._me))]
            for path in (*lost, *(path for path, _ in chain)):
                self._storage.delete([path])
        except (StorageError, TransientError) as error:
            log.warning("the lock of this run stays behind: %s", error)


def held(storage: Storage, holder: Holder | None) -> PathHeldError:
    """Return the error that refuses a path because ``holder`` holds it."""
    return PathHeldError(
        storage.url,
        f"is held by {holder or 'another run'}, which may still be at work; if it is not, the same command with "
        "--break-lock goes on",
    )


@contextlib.contextmanager
def hold_lock(storage: Storage, run_id: str, *, break_lock: bool = False) -> Iterator[Lock]:
    """Hold the path within the block. Raises PathHeldError naming the run that holds it."""
    lock = Lock(storage, run_id)
    lock.acquire(break_lock=break_lock)
    try:
        yield lock
    finally:
        lock.release()


def staged_folders(storage: Storage) -> list[str]:
    """Return the folders of staged work and of temporary files: all below ``_staging/`` except locks."""
    return [f"{STAGING}/{entry}" for entry in storage.entries(STAGING) if entry != _LOCKS]


def clear_staging(storage: Storage) -> None:
    """Remove everything below ``_staging/`` except locks."""
    for folder in staged_folders(storage):
        storage.delete_tree(folder)


def _boot() -> str:
    """What tells this start of this machine from others: Linux's own name for it, elsewhere the network card's number.

    Not ``psutil.boot_time()``, which moves when the clock is set.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{uuid.getnode():012x}"


def _container() -> str:
    """Return the container of this process, as Linux names it; ``""`` elsewhere."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _begun(process: psutil.Process) -> str:
    """Return when a process began, in clock ticks since the machine did; ``""`` where setting the clock moves it.

    On Linux both times move with the clock, so their difference does not (proc(5), "starttime").
    """
    if not psutil.LINUX:
        return ""
    return str(round((process.create_time() - psutil.boot_time()) * os.sysconf("SC_CLK_TCK")))


def _is_alive(pid: int, begun: str) -> bool:
    """Return whether the process that began then still runs; process numbers are used again.

    A process that has ended but whose parent has not noticed (a zombie) does not run. One that this user may not look
    at counts as alive.
    """
    try:
        process = psutil.Process(pid)
        return process.status() not in _ENDED and _is_same_start(_begun(process), begun)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _is_same_start(one: str, other: str) -> bool:
    """Return whether two starts are the same within two seconds: the machine's own start is rounded to one."""
    if one.isdigit() and other.isdigit():
        return abs(int(one) - int(other)) <= 2 * os.sysconf("SC_CLK_TCK")
    return one == other
