"""Which storage is behind a URL that leads to no disk of this machine."""

from collections.abc import Callable

from pipeline.storage.base import Access, Storage
from pipeline.storage.connection import Connection
from pipeline.storage.gcs import GcsStorage, gcs_defaults
from pipeline.storage.remote import RemoteStorage
from pipeline.storage.renaming_filesystem import RenamingStorage
from pipeline.storage.s3 import S3Storage, s3_defaults

_S3_PROTOCOLS = ("s3", "s3a")
_GCS_PROTOCOLS = ("gs", "gcs")
# With these protocols a PUT shows an object when it is whole. In all others, files are written and renamed.
_OBJECT_STORES = frozenset({"abfs", "abfss", "az", "adl", "oss", "oci", "cos", "obs", "b2", "memory"})


def open_store(protocol: str, access: Access, grant: Callable[[], Access] | None = None) -> Storage:
    """Return the storage that ``access`` leads to; ``protocol`` is that of its URL.

    Raises as :func:`pipeline.storage.open_storage` does.
    """
    if protocol in _S3_PROTOCOLS:
        return S3Storage(Connection(access, grant, s3_defaults))
    if protocol in _GCS_PROTOCOLS:
        return GcsStorage(Connection(access, grant, gcs_defaults))
    connection = Connection(access, grant)
    return RemoteStorage(connection) if connection.protocols & _OBJECT_STORES else RenamingStorage(connection)
