"""Time object stores: many small objects against the loop people write today, and one huge manifest joined from parts.

The stores are those of the tests, real servers on loopback, which share this machine's cores with what is measured.
Only ratios within a round mean anything on another machine; nothing is asserted about time.
"""

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import json
import multiprocessing
import resource
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, override

import fsspec
import msgspec

from pipeline.config.variables import expand_variables
from pipeline.formats import Manifest, Section
from pipeline.model.ledger import Ledger
from pipeline.stages.merge import MergeInput, gather_parts, join_manifest
from pipeline.staging.area import Staging
from pipeline.staging.markers import Part, RenderMarker
from pipeline.storage import Extent, Storage

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from stores import GcsServer, Place, S3Server

SERVERS: dict[str, type[S3Server] | type[GcsServer]] = {"s3": S3Server, "gcs": GcsServer}
MB = 10**6
BATCH_BYTES = 16 * 2**20  # after so many a shard writes what it has collected: pipeline/destination/shard_writer.py
LOOP_SHARE = 5  # the loop's speed does not depend on the number, and it takes its time
SEPARATOR = b",\n"
COCO = Manifest(
    "annotations/instances_train.json",
    (
        Section("images", b'{"info":{},\n"licenses":[],\n"categories":[],\n"images":[\n', SEPARATOR, b"\n],\n"),
        Section("annotations", b'"annotations":[\n', SEPARATOR, b"\n]}\n"),
    ),
)

type Files = Sequence[tuple[str, bytes]]
SPAWN = multiprocessing.get_context("spawn")


# A network before the store


class Lane(asyncio.Protocol):
    """One direction of a connection: what comes in goes out in the same order, ``delay`` seconds later."""

    def __init__(self, delay: float) -> None:
        self.other: Lane | None = None
        self.transport: asyncio.Transport | None = None
        self.delay = delay
        self._held: deque[bytes] = deque()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        self._held.append(data)
        self._later(self._pass_on)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._later(self._close)

    def _later(self, step: Callable[[], None]) -> None:
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, step)
        else:
            step()

    def _pass_on(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(self._held.popleft())

    def _close(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.close()


class Entrance(Lane):
    """The client's end of a connection; opens one to the store for it."""

    def __init__(self, store: tuple[str, int], delay: float) -> None:
        super().__init__(0)
        self._store = store
        self._answers = delay
        self._opening: asyncio.Task[None] | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        exit_ = Lane(self._answers)
        exit_.other = self
        await asyncio.get_running_loop().create_connection(lambda: exit_, *self._store)
        self.other = exit_
        while self._held:
            self._pass_on()


def relay(listening: socket.socket, store: tuple[str, int], delay: float, parent: Connection) -> None:
    """Pass connections on to a store until ``parent`` closes; every piece of an answer arrives ``delay`` s later."""

    async def serve() -> None:
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(parent.fileno(), over.set)
        server = await loop.create_server(lambda: Entrance(store, delay), sock=listening)
        await over.wait()
        server.close()

    asyncio.run(serve())


@contextlib.contextmanager
def at_a_distance(place: Place, delay: float) -> Iterator[Place]:
    """The place as it is seen over a network on which answers take ``delay`` seconds longer; a process of its own."""
    if not delay:
        yield place
        return
    host, _, port = str(place.options["endpoint_url"]).partition("://")[2].partition(":")
    ours, theirs = SPAWN.Pipe()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = SPAWN.Process(target=relay, args=(listening, (host, int(port)), delay, theirs), daemon=True)
        process.start()
        theirs.close()
        endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        yield replace(place, options={**place.options, "endpoint_url": endpoint})
    finally:
        ours.close()
        process.join(10)
        process.kill()


# Many small objects


class Speed(NamedTuple):
    """Objects per second, and the processor seconds of this process for a thousand of them."""

    rate: float
    cpu: float


def timed(work: Callable[[], object], objects: int) -> Speed:
    """How fast ``work`` is, which is about so many objects."""
    started, cpu = time.perf_counter(), time.process_time()
    work()
    return Speed(objects / (time.perf_counter() - started), (time.process_time() - cpu) / objects * 1000)


def batches(files: Files) -> Iterator[Files]:
    """The files in the batches in which a shard writes them."""
    batch: list[tuple[str, bytes]] = []
    held = 0
    for file in files:
        batch.append(file)
        held += len(file[1])
        if held > BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def loops(place: Place, files: Files) -> dict[str, Callable[[], object]]:
    """What people write today: one call after the other on the file system of fsspec."""
    with place.active():
        options = expand_variables(dict(place.options), "storage_options")
    filesystem, root = fsspec.url_to_fs(place.url, **options)
    filesystem.pipe_file(f"{root}/first", b"")  # libraries are loaded and the client is made

    def write() -> None:
        for path, data in files:
            filesystem.pipe_file(f"{root}/{path}", data)

    def read() -> None:
        check([filesystem.cat_file(f"{root}/{path}") for path, _ in files], files)

    def copy() -> None:
        for path, _ in files:
            filesystem.cp_file(f"{root}/{path}", f"{root}/copies/{path}")

    return {"write": write, "read": read, "copy": copy}


def ours(storage: Storage, files: Files) -> dict[str, Callable[[], object]]:
    """The same with this package."""
    storage.write("first", b"")
    paths = [path for path, _ in files]

    def write() -> None:
        for batch in batches(files):
            storage.write_many(batch)

    def read() -> None:
        check(list(storage.find_many(paths)), files)

    def copy() -> None:
        storage.copy_many((path, f"copies/{path}") for path in paths)

    return {"write": write, "read": read, "copy": copy}


def check(found: Sequence[bytes | None], files: Files) -> None:
    """Ends the benchmark when something else was read than was written."""
    if found != [data for _, data in files]:
        raise SystemExit("what was read is not what was written")


def objects_round(place: Place, files: Files) -> dict[str, tuple[Speed, Speed]]:
    """Each operation in a loop and with this package, in turns and below a fresh prefix."""
    few = files[: max(1, len(files) // LOOP_SHARE)]
    with contextlib.closing(place.child("ours").storage()) as storage:
        own = ours(storage, files)
        found = {
            name: (timed(work, len(few)), timed(own[name], len(files)))
            for name, work in loops(place.child("loop"), few).items()
        }
        copies = sum(1 for _ in storage.files("copies"))
    if copies != len(files):
        raise SystemExit(f"{copies} copies of {len(files)} objects")
    return found


def compare_objects(kind: str, delay: float, files: Files, rounds: int) -> None:
    """Print the table of one store at one latency: medians, and the median of the ratios within each round."""
    print(f"\n{kind}, {delay * 1000:g} ms: {len(files):,} objects of {len(files[0][1])} bytes, {rounds} rounds")
    print(f"{'':8}{'loop/s':>9}{'CPU-s/1k':>10}{'ours/s':>9}{'CPU-s/1k':>10}{'speed ×':>9}")
    with SERVERS[kind]() as server, at_a_distance(server.place(), delay) as place:
        found = [objects_round(place.child(f"round-{number}"), files) for number in range(rounds)]
    for name in found[0]:
        loop, own = ([one[name][which] for one in found] for which in (0, 1))
        columns = [statistics.median(values) for side in (loop, own) for values in zip(*side, strict=True)]
        faster = statistics.median(fast.rate / slow.rate for slow, fast in zip(loop, own, strict=True))
        print(f"{name:8}" + "{:9,.0f}{:10.2f}{:9,.0f}{:10.2f}".format(*columns) + f"{faster:9.1f}", flush=True)


# One huge manifest


class Packs(NamedTuple):
    """What is to be joined, and what has to come out."""

    item: MergeInput
    size: int
    sha256: str


class Joined(NamedTuple):
    """A file that was made of parts; ``peak`` is in bytes, as are what was sent to a store and what it copied."""

    size: int
    sha256: str
    seconds: float
    peak: int
    sent: int = 0
    copied: int = 0


def apart[**P, R](function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The call in a process of its own, so that its peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        return pool.submit(function, *args, **kwargs).result()


def peak() -> int:
    """Most bytes of memory this process has had."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says begins with the memory of the process that started this one
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Source:
    """The parts of every shard: items as COCO's, ``size`` bytes in all, a tenth of them images."""

    def __init__(self, size: int) -> None:
        images = itertools.cycle([self._image(number) for number in range(200)])
        annotations = itertools.cycle([self._annotation(number) for number in range(2000)])
        self._rest = {"images": _up_to(images, size // 10), "annotations": _up_to(annotations, size - size // 10)}

    @staticmethod
    def _image(number: int) -> bytes:
        name = f"front_camera_{number:012}.jpg"
        return msgspec.json.encode({"id": number, "file_name": name, "width": 1920, "height": 1080})

    @staticmethod
    def _annotation(number: int) -> bytes:
        ring = [round(100 + (number * 37 + step * 61) % 900 + step / 7, 2) for step in range(24)]
        box = [ring[0], ring[1], ring[2], ring[3]]
        return msgspec.json.encode(
            {"id": number, "image_id": number // 10, "category_id": number % 80, "segmentation": [ring],
             "area": round(box[2] * box[3], 2), "bbox": box, "iscrowd": 0}
        )  # fmt: skip

    def part(self, section: str, shard: int) -> bytes:
        """The items of a shard, without the separator before them. No two shards have the same."""
        first = self._image(10**9 + shard) if section == "images" else self._annotation(10**9 + shard)
        return first + SEPARATOR + self._rest[section]

    def pack(self, shard: int) -> tuple[bytes, tuple[Part, ...]]:
        """Everything of a shard, as pipeline/destination/shard_writer.py lays it out, and where what is."""
        pack = bytearray()
        parts: list[Part] = []
        for section in COCO.sections:
            data = self.part(section.name, shard)
            pack += SEPARATOR
            parts.append(Part(COCO.path, section.name, Extent("", len(pack), len(data))))
            pack += data
        return bytes(pack), tuple(parts)

    def manifest(self, shards: int) -> Iterator[bytes]:
        """The file that the packs of so many shards are joined to."""
        for section in COCO.sections:
            yield section.open
            for shard in range(shards):
                yield (SEPARATOR if shard else b"") + self.part(section.name, shard)
            yield section.close


def _up_to(items: Iterator[bytes], size: int) -> bytes:
    run = [next(items)]
    held = len(run[0])
    while held < size:
        run.append(next(items))
        held += len(run[-1]) + len(SEPARATOR)
    return SEPARATOR.join(run)


def make_packs(place: Place, size: int, shards: int) -> Packs:
    """Stage packs that are ``size`` bytes together."""
    source = Source(size // shards)
    staging = Staging(place.storage(), "benchmark")
    markers = []
    for shard in range(shards):
        data, parts = source.pack(shard)
        sha256 = staging.write_pack(shard, [data])
        markers.append(RenderMarker("", shard, "", sha256, parts, Ledger(), ()))
    return Packs(gather_parts(COCO, markers, staging), *measured(source.manifest(shards)))


def measured(chunks: Iterable[bytes]) -> tuple[int, str]:
    """Size and sha256 of the chunks together."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def join_packs(place: Place, item: MergeInput) -> Joined:
    """The merge stage's own join, as its one task does it."""
    storage = place.storage()
    moved = Counter[str]() if place.is_local else count_moved(storage)
    started = time.perf_counter()
    size, sha256 = join_manifest(Staging(storage, "benchmark"), item)
    return Joined(size, sha256, time.perf_counter() - started, peak(), moved["sent"], moved["copied"])


def count_moved(storage: Any) -> Counter[str]:
    """Counts from now on the bytes that requests send to S3, and those that they have it copy."""
    moved = Counter[str]()

    def note(params: dict[str, Any], **_: Any) -> None:
        if "Body" in params:
            moved["sent"] += len(params["Body"])
        if "CopySourceRange" in params:
            first, _, last = params["CopySourceRange"].removeprefix("bytes=").partition("-")
            moved["copied"] += int(last) - int(first) + 1

    storage.write("first", b"")  # the client is made
    storage._connection.filesystem().s3.meta.events.register("provide-client-params.s3", note)  # noqa: SLF001
    return moved


def read_back(place: Place) -> tuple[int, str]:
    """Size and sha256 of the file as it is there."""
    return measured(place.storage().chunks(COCO.path))


def write_documents(folder: Path, size: int, shards: int) -> None:
    """The same packs as people keep them: a COCO JSON for every shard."""
    source = Source(size // shards)
    for shard in range(shards):
        images, annotations = (source.part(section.name, shard) for section in COCO.sections)
        (folder / f"{shard:06}.json").write_bytes(b'{"images":[%b],"annotations":[%b]}' % (images, annotations))


def merge_documents(folder: Path) -> Joined:
    """What people write today: load every document, and dump all of it."""
    started = time.perf_counter()
    merged: dict[str, list[Any]] = {"images": [], "annotations": []}
    for path in sorted(folder.glob("*.json")):
        with path.open() as file:
            document = json.load(file)
        for name, items in merged.items():
            items.extend(document[name])
    with (folder / "merged").open("w") as file:
        json.dump(merged, file)
    return Joined((folder / "merged").stat().st_size, "", time.perf_counter() - started, peak())


@contextlib.contextmanager
def emptied(kind: str) -> Iterator[Place]:
    """A place that is gone afterwards, with its server if it has one."""
    if kind == "local":
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            yield Place(folder)
    else:
        with S3Server() as server:
            yield server.place()


def merge_round(kind: str, size: int, shards: int) -> Joined:
    """Make the packs, join them, and compare what came out with what had to."""
    with emptied(kind) as place:
        packs = apart(make_packs, place, size, shards)
        result = apart(join_packs, place, packs.item)
        for found in ((result.size, result.sha256), apart(read_back, place)):
            if found != (packs.size, packs.sha256):
                raise SystemExit(f"{kind}: joined to {found}, not to {(packs.size, packs.sha256)}")
    return result


def documents_round(size: int, shards: int) -> Joined:
    """The same without this package."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        apart(write_documents, Path(name), size, shards)
        return apart(merge_documents, Path(name))


def compare_merges(kinds: Sequence[str], size: int, plain: int, shards: int, rounds: int) -> None:
    """Print a table: the plain way and ours at the same size, then ours at full size."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < 3 * size:
        raise SystemExit(f"{3 * size:,} bytes are needed in {tempfile.gettempdir()}, {free:,} are free")
    print(f"\nOne COCO JSON from {shards} packs; {rounds} rounds of the first two, largest peak")
    print(f"{'':22}{'MB':>7}{'seconds':>9}{'MB/s':>7}{'peak MB':>9}{'sent MB':>9}{'copied MB':>11}{'speed ×':>9}")
    subjects: dict[str, Callable[[], Joined]] = {
        "json.load, json.dump": partial(documents_round, plain, shards),
        "ours, the same": partial(merge_round, "local", plain, shards),
    }
    small = [{name: work() for name, work in subjects.items()} for _ in range(rounds)] if plain else []
    for name in subjects if plain else ():
        faster = statistics.median(one["json.load, json.dump"].seconds / one[name].seconds for one in small)
        print_merge(name, [one[name] for one in small], f"{faster:9.1f}")
    for kind in kinds:
        print_merge(f"ours, {kind}", [merge_round(kind, size, shards)])


def print_merge(name: str, runs: Sequence[Joined], more: str = "") -> None:
    """One line of the table."""
    seconds = statistics.median(run.seconds for run in runs)
    size, most = runs[0].size / MB, max(run.peak for run in runs) / MB
    moved = f"{runs[0].sent / MB:9,.0f}{runs[0].copied / MB:11,.0f}" if runs[0].sent else f"{'':20}"
    print(f"{name:22}{size:7,.0f}{seconds:9.2f}{size / seconds:7,.0f}{most:9,.0f}{moved}{more}", flush=True)


def main() -> None:
    """Run one of the two comparisons, or both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=["objects", "merge"], help="both without it")
    parser.add_argument("--rounds", type=int, default=3)
    objects = parser.add_argument_group("objects")
    objects.add_argument("--objects", type=int, default=1500)
    objects.add_argument("--bytes", type=int, default=300, help="of each")
    objects.add_argument("--servers", nargs="*", choices=list(SERVERS), default=list(SERVERS))
    objects.add_argument("--latency", type=float, nargs="*", default=[0, 20], metavar="MS", help="of each answer")
    merge = parser.add_argument_group("merge")
    merge.add_argument("--size", type=int, default=2000, metavar="MB")
    merge.add_argument("--plain-size", type=int, default=100, metavar="MB", help="for json.load; 0: without it")
    merge.add_argument("--packs", type=int, default=200)
    merge.add_argument("--places", nargs="*", choices=["local", "s3"], default=["local", "s3"])
    options = parser.parse_args()
    if "merge" not in options.what or "objects" in options.what:
        line = b"17 0.482031 0.517442 0.103912 0.087310\n"
        files = [
            (
                f"labels/train/{number:012}.txt",
                (b"%d " % number + line * (options.bytes // len(line) + 1))[: options.bytes],
            )
            for number in range(options.objects)
        ]
        for kind in options.servers:
            for latency in options.latency:
                compare_objects(kind, latency / 1000, files, options.rounds)
    if "objects" not in options.what or "merge" in options.what:
        compare_merges(options.places, options.size * MB, options.plain_size * MB, options.packs, options.rounds)


if __name__ == "__main__":
    main()
