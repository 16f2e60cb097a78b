"""One run at a time on one path: a small file that only one of several runs can create.

``_staging/locks/lock.json`` belongs to the run that created it. A run that ended without taking it away is *stale*;
whoever proves that, or is told to break the lock, does not remove the file (somebody else may be doing the same) but
creates its successor, ``lock-<run id of the stale one>.json``, and of several only one can. So the holder is the run at
the end of the chain, and a killed run leaves nothing that has to be undone first. Nothing is decided by a clock or a
listing.
"""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pipeline.errors import DestinationError, StorageError, TransientError
from pipeline.storage import STAGING, Storage

_LOCKS = "locks"
_FIRST = f"{STAGING}/{_LOCKS}/lock.json"
_LONGEST = 1000

log = logging.getLogger(__name__)

_running: set[str] = set()
"""Runs of this process that hold a path."""


class Holder(msgspec.Struct, frozen=True):
    """Who holds a path: the run, and the process as its own machine would know it again.

    ``boot`` tells one start of a machine from the next, ``space`` one container from another, ``begun`` one process
    from a later one of the same number; each ``""`` where the system does not tell.
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
        """Whether the process is proven to be no more: only its own machine can tell."""
        here = this_process(self.run_id)
        if (self.host, self.boot, self.space) != (here.host, here.boot, here.space):
            return False  # another start of the machine is no proof: machines share names
        if self.pid == here.pid and self.begun == here.begun:
            return self.run_id not in _running  # an earlier run of this very process, which could not let go
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return self.begun != _begun(self.pid) or _is_ended(self.pid)


def _after(holder: Holder) -> str:
    """Where the one who breaks this holder's lock puts its own."""
    return f"{STAGING}/{_LOCKS}/lock-{holder.run_id}.json"


def this_process(run_id: str) -> Holder:
    """The holder that this process is."""
    return Holder(
        run_id=run_id,
        host=socket.gethostname(),
        pid=os.getpid(),
        boot=_system("/proc/sys/kernel/random/boot_id"),
        space=_link("/proc/self/ns/pid"),
        begun=_begun(os.getpid()),
    )


class Lock:
    """The lock on the path of an export, for one run."""

    def __init__(self, storage: Storage, run_id: str) -> None:
        self._storage = storage
        self._me = this_process(run_id)
        self.run_id = run_id
        self.path = ""

    def chain(self) -> list[tuple[str, Holder]]:
        """Files and holders, the one that counts last; empty when nobody holds the path."""
        found: list[tuple[str, Holder]] = []
        path = _FIRST
        while len(found) < _LONGEST and (data := self._storage.find(path)) is not None:
            try:
                holder = msgspec.json.decode(data, type=Holder)
            except msgspec.MsgspecError:
                holder = Holder("unknown", "an unknown machine", 0)
            found.append((path, holder))
            path = _after(holder)
        return found

    def take(self, *, break_lock: bool = False) -> Holder | None:
        """Hold the path; returns the run whose lock was broken for it, if any.

        Raises DestinationError naming the holder when that may still be at work.
        """
        chain = self.chain()
        stale = chain[-1][1] if chain else None
        if stale is not None and not (break_lock or stale.is_gone):
            raise held(self._storage, stale)
        path = _after(stale) if stale else _FIRST
        _running.add(self._me.run_id)  # before anyone can see the file and take its run for one that is over
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
        """Raise StorageError when another run was told to break this lock: it may be writing here, too."""
        chain = self.chain()
        if not chain or chain[-1][1] != self._me:
            by = chain[-1][1] if chain else "somebody"
            raise StorageError(self._storage.url, f"the lock of this run was broken by {by}; this run gives up")

    def excludes(self) -> bool:
        """Whether the store really refuses to create a file twice; where it does not, two runs are not noticed."""
        # Not the very same bytes: those would be taken for our own, arrived although the answer was lost.
        return not self._storage.create_new(self.path, msgspec.json.encode(self._me) + b"\n")

    def release(self) -> None:
        """Let go of the path. The head of the chain goes first: from then on nobody holds it.

        A store that does not answer is no error: the run has its own end to report, and the lock is stale then.
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


def held(storage: Storage, holder: Holder | None) -> DestinationError:
    """The refusal of a path that ``holder`` holds."""
    return DestinationError(
        storage.url,
        f"is held by {holder or 'another run'}, which may still be at work; if it is not, the same command with "
        "--break-lock goes on",
    )


@contextlib.contextmanager
def hold(storage: Storage, run_id: str, *, break_lock: bool = False) -> Iterator[Lock]:
    """The path belongs to this run within the block. Raises DestinationError naming the run that holds it."""
    lock = Lock(storage, run_id)
    lock.take(break_lock=break_lock)
    try:
        yield lock
    finally:
        lock.release()


def staged(storage: Storage) -> list[str]:
    """Folders of staged work and of temporary files: everything below ``_staging/`` but locks."""
    return [f"{STAGING}/{entry}" for entry in storage.entries(STAGING) if entry != _LOCKS]


def clear_staging(storage: Storage) -> None:
    """Remove everything below ``_staging/`` but locks."""
    for folder in staged(storage):
        storage.delete_tree(folder)


def _system(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:  # no Linux
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:  # no Linux
        return ""


def _begun(pid: int) -> str:
    """When a process began, in ticks since the machine did (proc(5), "starttime"): numbers are used again."""
    fields = _system(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _is_ended(pid: int) -> bool:
    """Whether only the entry of a process is left, which its parent has not looked at yet."""
    fields = _system(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[:1] in (["Z"], ["X"])
