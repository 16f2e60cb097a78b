"""Files beside a configuration that outlive an export: the list of splits, the class lock.

Only the driver reads and writes them; what a run needs of them is frozen with its plan.
"""

import posixpath
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.storage import STAGING, Storage, open_storage

if TYPE_CHECKING:
    from pipeline.config.export import ExportConfig


def read_side_file(config: "ExportConfig", path: str, folder: str) -> bytes | None:
    """Return the file, or None if it is missing; relative paths start at ``folder``. Raises DestinationError or
    StorageError when it cannot be read.
    """
    storage, name = _locate(config, path, folder)
    with closing(storage):
        return storage.find(name)


def write_side_file(config: "ExportConfig", path: str, folder: str, data: bytes) -> None:
    """Write the file atomically."""
    storage, name = _locate(config, path, folder)
    with closing(storage):
        storage.write(name, data, durable=True)
        storage.delete([f"{STAGING}/side-file"])  # is never there, but its folder is: a disk is written through it


def _locate(config: "ExportConfig", path: str, folder: str) -> tuple[Storage, str]:
    if "://" not in path:
        full = Path(folder, path).expanduser().absolute()
        return open_storage(str(full.parent)), full.name
    from pipeline.config.variables import expand_variables  # noqa: PLC0415  YAML, which `status` does without

    parent, name = posixpath.split(path)
    # Credentials of the destination are for the destination's kind of storage only.
    shares = config.storage is None and path.partition("://")[0] == config.path.partition("://")[0]
    return open_storage(parent, expand_variables(config.storage_options, "storage_options") if shares else {}), name
