"""Amazon S3 and other stores with its protocol (MinIO, SeaweedFS, Ceph …), through s3fs."""

import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from itertools import batched
from typing import Any, override

from pipeline.errors import StorageError
from pipeline.storage.base import Extent
from pipeline.storage.connection import Connection
from pipeline.storage.multipart import ABORT_ERRORS, MIB, PartedStorage, Upload
from pipeline.storage.remote import AT_ONCE
from pipeline.storage.store_errors import code_of

type _Call = Callable[..., Awaitable[Any]]

_LARGEST_PUT = 64 * MIB  # larger files are sent in parts
_MOST_PAGES = 1000  # of a thousand uploads each
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
# Older MinIO and others want an MD5 that botocore does not send any more; Google's XML API has no such request.
_NO_BULK_DELETE = frozenset({"MissingContentMD5", "InvalidRequest", "InvalidArgument", "NotImplemented", "501"})
_DELETED_AT_ONCE = 1000  # docs.aws.amazon.com/AmazonS3, DeleteObjects


def s3_defaults(options: dict[str, Any]) -> dict[str, Any]:
    """Return the user's s3fs options over ours: botocore's pool of ten connections would be the bottleneck.

    With ``max_concurrency`` above 1 s3fs asks for the size of every object before it reads it.
    """
    given = options.get("config_kwargs") or {}
    ours: dict[str, Any] = {
        "max_pool_connections": AT_ONCE,
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _READ_SECONDS,
    }
    if _has_endpoint(options):
        # Stores other than AWS often refuse the checksums that botocore adds by itself since 1.36: boto/boto3#4392.
        ours |= {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    return {"max_concurrency": 1, **options, "config_kwargs": {**ours, **given}}


def _has_endpoint(options: dict[str, Any]) -> bool:
    inner = options.get("client_kwargs") or {}
    named = options.get("endpoint_url") or inner.get("endpoint_url")
    return bool(named or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))


class S3Storage(PartedStorage):
    """A bucket, or a prefix in it."""

    least_copied = 5 * MIB  # all parts but the last are at least this long: AmazonS3, "multipart upload limits"

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._bucket, _, self._prefix = self._root.partition("/")

    def _key(self, path: str) -> str:
        return _key_of(self._full(path))

    def _request(self, path: str, method: str, **arguments: Any) -> Any:
        """Do an S3 operation by its name in botocore."""
        return self._call(path, lambda fs: fs.call_s3(method, Bucket=self._bucket, **arguments))

    @override
    def _operation(self, filesystem: Any, name: str) -> Callable[..., Any]:
        """Write and copy in one request each; s3fs needs two."""
        if name == "pipe_file":
            return partial(self._put, filesystem._call_s3)  # noqa: SLF001  as fsspec's own bulk calls do
        if name == "cp_file":
            return partial(self._copy, filesystem._call_s3, filesystem._cp_file)  # noqa: SLF001  as above
        return super()._operation(filesystem, name)

    async def _put(self, call: _Call, full: str, data: bytes) -> None:
        await call("put_object", Bucket=self._bucket, Key=_key_of(full), Body=_sent_at_once(data))

    async def _copy(self, call: _Call, in_parts: _Call, source: str, target: str) -> None:
        origin = {"Bucket": self._bucket, "Key": _key_of(source)}
        try:
            await call("copy_object", Bucket=self._bucket, Key=_key_of(target), CopySource=origin)
        except OSError as error:
            if code_of(error) not in ("InvalidRequest", "EntityTooLarge"):  # from 5 GB on
                raise
            await in_parts(source, target)

    @override
    def write(self, path: str, data: bytes, *, durable: bool = False) -> None:
        if len(data) > _LARGEST_PUT:
            super().write(path, data, durable=durable)
        else:
            self._request(path, "put_object", Key=self._key(path), Body=_sent_at_once(data))

    @override
    def size(self, path: str) -> int | None:
        try:
            return int(self._request(path, "head_object", Key=self._key(path))["ContentLength"])
        except FileNotFoundError:
            return None

    @override
    def files(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        below = "/".join(filter(None, (self._prefix, prefix)))
        more: dict[str, str] = {"Prefix": f"{below}/"} if below else {}
        while True:
            page = self._request(prefix, "list_objects_v2", **more)
            for found in page.get("Contents", ()):
                yield found["Key"].removeprefix(f"{self._prefix}/" if self._prefix else ""), int(found["Size"])
            if not page.get("IsTruncated"):
                return
            more["ContinuationToken"] = page["NextContinuationToken"]

    @override
    def entries(self, prefix: str = "") -> list[str]:
        below = "".join(f"{part}/" for part in (self._prefix, prefix) if part)
        more: dict[str, str] = {"Prefix": below} if below else {}
        found: list[str] = []
        while True:
            page = self._request(prefix, "list_objects_v2", Delimiter="/", **more)
            found += [entry["Key"].removeprefix(below) for entry in page.get("Contents", ())]
            folders = [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
            found += [folder.removeprefix(below).rstrip("/") for folder in folders if self._holds(folder)]
            if not page.get("IsTruncated"):
                return sorted(filter(None, found))
            more["ContinuationToken"] = page["NextContinuationToken"]

    def _holds(self, folder: str) -> bool:
        """Whether a folder has objects; SeaweedFS lists folders for a while after their last object was deleted."""
        page = self._request("", "list_objects_v2", Prefix=folder, MaxKeys=1)
        return any(entry["Key"] != folder for entry in page.get("Contents", ()))

    @override
    def delete(self, paths: Iterable[str]) -> None:
        for group in batched(paths, _DELETED_AT_ONCE):
            objects = [{"Key": self._key(path)} for path in group]
            try:
                answer = self._request(group[0], "delete_objects", Delete={"Objects": objects, "Quiet": True})
            except StorageError as error:
                if code_of(error) not in _NO_BULK_DELETE:
                    raise
                super().delete(group)
                continue
            for problem in answer.get("Errors", ()):
                if problem.get("Code") != "NoSuchKey":
                    reason = f"{problem.get('Code')}: the credentials need to delete objects there"
                    raise StorageError(f"{self.url}/{group[0]}", reason)

    # Uploads in parts

    @override
    def _begin(self, path: str) -> Upload:
        return _MultipartUpload(self, path)

    def _unfinished(self) -> Iterator[tuple[str, str]]:
        """Yield key and id of every unfinished upload below the root.

        MinIO does not support prefixes here, only whole names or none (minio/minio#20989).
        """
        below = f"{self._prefix}/" if self._prefix else ""
        found = list(self._listed_uploads(below, {"Prefix": below} if below else {}))
        yield from found or self._listed_uploads(below, {})

    def _listed_uploads(self, below: str, more: dict[str, str]) -> Iterator[tuple[str, str]]:
        for _ in range(_MOST_PAGES):
            page = self._request("", "list_multipart_uploads", **more)
            for found in page.get("Uploads", ()):
                if found["Key"].startswith(below):
                    yield found["Key"], found["UploadId"]
            if not page.get("IsTruncated"):
                return
            more |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    @override
    def abort_uploads(self) -> int:
        found = list(self._unfinished())
        for key, number in found:
            with contextlib.suppress(FileNotFoundError):
                self._request("", "abort_multipart_upload", Key=key, UploadId=number)
        return len(found)


def _key_of(full: str) -> str:
    return full.partition("/")[2]


def _sent_at_once(data: bytes | bytearray) -> bytearray:
    """Return the data as a bytearray, which botocore sends at once; before other bodies it asks the server."""
    return data if isinstance(data, bytearray) else bytearray(data)


class _MultipartUpload:
    """An S3 multipart upload. A killed process leaves it behind for :meth:`S3Storage.abort_uploads`."""

    def __init__(self, storage: S3Storage, path: str) -> None:
        self._storage = storage
        self._path = path
        self._key = storage._key(path)  # noqa: SLF001  the upload is part of the storage
        self._tags: dict[int, str] = {}
        self._lock = threading.Lock()
        self._id = self._request("create_multipart_upload")["UploadId"]

    def _request(self, method: str, **arguments: Any) -> Any:
        try:
            return self._storage._request(self._path, method, Key=self._key, **arguments)  # noqa: SLF001  as above
        except FileNotFoundError as error:
            raise StorageError(
                f"{self._storage.url}/{self._path}",
                "another process ended the upload of this file; run the same command again",
            ) from error

    def put(self, number: int, data: bytes | bytearray) -> None:
        """Send a part."""
        answer = self._request("upload_part", UploadId=self._id, PartNumber=number, Body=_sent_at_once(data))
        with self._lock:
            self._tags[number] = answer["ETag"]

    def copy(self, number: int, source: Extent) -> None:
        """Have the store copy a part; send it to a store that cannot."""
        storage = self._storage
        try:
            answer = self._request(
                "upload_part_copy",
                UploadId=self._id,
                PartNumber=number,
                CopySource={"Bucket": storage._bucket, "Key": storage._key(source.path)},  # noqa: SLF001  as above
                CopySourceRange=f"bytes={source.start}-{source.start + source.length - 1}",
            )
        except StorageError as error:
            if code_of(error) not in ("NotImplemented", "501", "MethodNotAllowed"):
                raise
            self.put(number, storage.read_range(source.path, source.start, source.length))
            return
        with self._lock:
            self._tags[number] = answer["CopyPartResult"]["ETag"]

    def complete(self, size: int) -> None:
        """Make the object appear. A lost answer is not a failure if the object exists."""
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in sorted(self._tags.items())]
        try:
            self._request("complete_multipart_upload", UploadId=self._id, MultipartUpload={"Parts": parts})
        except StorageError:
            if self._storage.size(self._path) != size:
                raise

    def abort(self) -> None:
        """Delete the parts."""
        with contextlib.suppress(*ABORT_ERRORS):
            self._request("abort_multipart_upload", UploadId=self._id)
