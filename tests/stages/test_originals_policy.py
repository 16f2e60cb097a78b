"""Where files may come from and what their names become, from the configuration to the finished tree."""

import csv
import hashlib
import io
import json
import posixpath
import re
import tarfile
import unicodedata
from pathlib import Path, PurePosixPath

import msgspec
import pytest
import yaml
from aiohttp import web
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from digests import tree_digest
from pipeline.commands.verify import verify
from pipeline.config.loading import parse_config
from pipeline.errors import FailureLimitError
from pipeline.model.naming import MAX_LEAF_BYTES, fold
from pipeline.run import run
from pipeline.sandbox import Sandbox, SandboxOptions
from pipeline.storage import open_storage
from synapse.local_api import SIGNATURE, TOKEN, LocalApi, TinyList, document, task

FORMATS = ["coco", "yolo", "voc", "imagefolder", "webdataset", "parquet", "csv", "synapse_json"]


def picture(number):
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), (number % 256, number // 256, 7)).save(stream, "PNG")
    return stream.getvalue()


class TinySynapse:
    """A project with tasks and their files, on 127.0.0.1; ``/media/<id>`` is the picture of a task."""

    def __init__(self, rows):
        self.list = TinyList(rows)
        self._api = LocalApi(self._answer)
        self.away = ""

    async def _answer(self, request):
        if request.path.startswith("/projects/"):
            return web.json_response({"id": 12, "title": "tiny", "configuration": {}})
        if request.path.startswith("/sdk/"):
            return await self.list(request)
        if request.path.startswith("/away/"):
            return web.Response(status=302, headers={"Location": self.away})
        return web.Response(body=picture(int(request.path.rpartition("/")[2])))

    def __enter__(self):
        self._api.__enter__()
        self.url = self._api.url
        return self

    def __exit__(self, *error):
        self._api.__exit__(*error)

    def export(self, monkeypatch, path, **overrides):
        monkeypatch.setenv("SYNAPSE_HOST", self.url)
        monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", TOKEN)
        values = {
            "name": "tiny", "target": "task", "filter": {"project": 12}, "path": str(path), "formats": ["coco", "csv"],
            **overrides, "run": {"executor": "serial", **overrides.get("run", {})},
        }  # fmt: skip
        return run(parse_config(yaml.safe_dump(values)))


def row(number, *, url=None, name=None, **fields):
    made = task(number, data=document(f"a{number}", size=(64, 48)), **fields)
    info = made["data_unit"]["files"]["image_1"]
    info |= {"url": url or f"/media/{number}", "file_name_original": f"{number}.png" if name is None else name}
    return made


def records(path):
    """The rows of ``records.csv``, with what a spreadsheet must not run as it was."""
    text = (Path(path) / "metadata/records.csv").read_bytes().decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def failures(path):
    return [msgspec.json.decode(line) for line in (Path(path) / "metadata/failures.jsonl").read_bytes().splitlines()]


# Where files come from


@pytest.fixture
def other():
    """A server of this machine that is not the API's."""

    async def answer(request):
        if "document" in request.path:
            return web.json_response(document("far", size=(64, 48)))
        return web.Response(body=picture(int(request.path.rpartition("/")[2])))

    with LocalApi(answer, host="127.0.0.2") as server:
        yield server


def reaching(other):
    """Rows that have, in turn, their own file, one elsewhere, a document elsewhere, and one that leads elsewhere."""
    unsized = row(4, url=f"{other.url}/media/4?X-Sig={SIGNATURE}")
    unsized["data"]["extra"] = {"image_1": {}}
    return [
        row(1),
        row(2, url=f"{other.url}/media/2?X-Sig={SIGNATURE}"),
        row(3) | {"data": {"mode": "presigned", "presigned_url": f"{other.url}/document/3?X-Sig={SIGNATURE}"}},
        unsized,
        row(5, url=f"http://{int.from_bytes(bytes([127, 0, 0, 2]))}{other.url[16:]}/media/5?X-Sig={SIGNATURE}"),
    ]


def test_nothing_is_asked_of_this_machine_and_the_user_reads_which_host_it_was(monkeypatch, tmp_path, other):
    with TinySynapse(reaching(other)) as synapse:
        with pytest.raises(FailureLimitError):
            synapse.export(monkeypatch, tmp_path / "none")
        result = synapse.export(monkeypatch, tmp_path / "some", max_failures=4)
    assert other.seen == []
    told = {line["record_id"]: (line["reason"], line["detail"]) for line in failures(tmp_path / "some")}
    hint = "127.0.0.2 is a loopback address; if files are kept there, add it to run.file_hosts"
    assert told[2] == ("IMAGE_MATERIALIZATION_FAILED", hint)
    assert told[3] == ("PAYLOAD_UNAVAILABLE", hint)
    assert told[4][1].endswith(hint)
    assert "four decimal numbers" in told[5][1]
    assert set(told) == {2, 3, 4, 5}
    assert [found["record_id"] for found in records(tmp_path / "some") if found["sha256"]] == ["1"]
    assert result.summary
    verify(open_storage(str(tmp_path / "some")), full=True)
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or SIGNATURE.encode() not in file.read_bytes(), file


def test_without_originals_the_size_of_a_picture_elsewhere_is_not_looked_at_either(monkeypatch, tmp_path, other):
    with TinySynapse(reaching(other)[3:4]) as synapse:
        synapse.export(monkeypatch, tmp_path, save_original_file=False, max_failures=1)
    (told,) = failures(tmp_path)
    assert told["reason"] == "SOURCE_IMAGE_INVALID"
    assert told["media"] == "image_1"
    assert told["detail"].startswith("its header could not be read: 127.0.0.2 is a loopback address")
    assert other.seen == []


@pytest.mark.parametrize("hosts", [["127.0.0.2"], ["127.0.0.0/8"]])
def test_a_host_that_is_named_is_asked_and_the_bytes_are_the_same(monkeypatch, tmp_path, other, hosts):
    rows = reaching(other)[:4]
    with TinySynapse(rows) as synapse:
        synapse.export(monkeypatch, tmp_path / "there", run={"file_hosts": hosts})
    assert failures(tmp_path / "there") == []
    assert {request.path for request in other.seen} == {"/media/2", "/document/3", "/media/4"}
    assert not any("synapse" in name.lower() for request in other.seen for name in request.headers)
    here = [row(1), row(2), row(3) | {"data": document("far", size=(64, 48))}, row(4)]
    with TinySynapse(here) as synapse:
        synapse.export(monkeypatch, tmp_path / "here")
    there, here = (tree_digest(open_storage(str(tmp_path / name))) for name in ("there", "here"))
    assert there == here


def test_a_redirect_is_followed_nowhere(monkeypatch, tmp_path, other):
    synapse = TinySynapse([row(1), row(2), row(3)])
    with synapse:
        synapse.list.rows[0]["data"] = {"mode": "presigned", "presigned_url": f"{synapse.url}/away/3"}
        synapse.list.rows[1]["data_unit"]["files"]["image_1"]["url"] = f"{synapse.url}/away/2"
        synapse.away = f"{other.url}/media/2"
        synapse.export(monkeypatch, tmp_path, max_failures=2, run={"file_hosts": ["127.0.0.2"]})
    assert {line["record_id"]: line["detail"] for line in failures(tmp_path)} == dict.fromkeys(
        (2, 3), "HTTP 302: redirects are not followed"
    )
    assert other.seen == []


def test_the_same_export_goes_on_once_the_host_is_named(monkeypatch, tmp_path, other):
    with TinySynapse(reaching(other)[:4]) as synapse:
        for hosts in ([], ["127.0.0.3"]):
            with pytest.raises(FailureLimitError):
                synapse.export(monkeypatch, tmp_path / "again", run={"file_hosts": hosts, "shard_size": 1})
        named = {"file_hosts": ["127.0.0.2"], "shard_size": 1}
        assert not synapse.export(monkeypatch, tmp_path / "again", run=named).already_finished
        synapse.export(monkeypatch, tmp_path / "once", run=named)
    again, once = (tree_digest(open_storage(str(tmp_path / name))) for name in ("again", "once"))
    assert again == once
    assert failures(tmp_path / "again") == []


def test_an_original_alone_that_was_refused_is_tried_again_too(monkeypatch, tmp_path, other):
    with TinySynapse(reaching(other)[:2]) as synapse:
        with pytest.raises(FailureLimitError):
            synapse.export(monkeypatch, tmp_path)
        synapse.export(monkeypatch, tmp_path, run={"file_hosts": ["127.0.0.2"]})
    assert all(found["sha256"] for found in records(tmp_path))


# Without originals


def test_without_originals_only_headers_of_pictures_of_unknown_size_are_read(tmp_path, monkeypatch):
    kinds = ("size_in_header_only", "meta_missing", "size_wrong", "sidecar_first", "media_url")
    with Sandbox(SandboxOptions(profile="nasty", records=40, kinds=kinds, payload="presigned")) as sandbox:
        for key, value in sandbox.environment().items():
            monkeypatch.setenv(key, value)
        formats = [name for name in FORMATS if name not in ("imagefolder", "webdataset")]
        values = {
            "name": "x", "target": "task", "filter": {"project": sandbox.project_id}, "path": str(tmp_path),
            "formats": formats, "save_original_file": False, "run": {"executor": "serial"},
        }  # fmt: skip
        run(parse_config(yaml.safe_dump(values)))
        fetched = [entry for entry in sandbox.requests() if re.match(r"/(blobs|media)/files/", entry["path"])]
        unsized = sum(told.kind == "size_in_header_only" for told in sandbox.truth("task"))
    assert unsized
    assert len(fetched) == unsized, "one look at each, and none at any other"
    assert all(entry["headers"]["range"] == "bytes=0-65535" for entry in fetched)
    assert all(entry["bytes"] <= 65536 for entry in fetched)
    assert not (tmp_path / "images").exists()


# Names


NASTY = [
    "plain.png", "plain.png", "PLAIN.PNG", "plain.jpg", "plain__2.png", "Plain__3.png",
    "../evil.png", "../../../../../../etc/passwd", "..\\..\\evil.png", "/etc/shadow.png", "C:\\Windows\\win.png",
    "%2e%2e%2fescape.png", "%252e%252e%252fescape.png", "..%c0%af..%c0%afescape.png", "....//....//escape.png",
    "a/../../b.png", "./.png", ".png", "..png", ".", "..", "...", "", " ", "\t", "/", "\\", "//", "~", "~/x.png",
    "-rf.png", "--help", "CON", "con.png", "CON.tar.png", "NUL", "nul.png", "COM1.png", "COM¹.png", "LPT9", "AUX.",
    "CONIN$", "prn .png", "a:b.png", "a::$DATA.png", 'q"uote.png', "apo'strophe.png", "com,ma.png", "semi;colon.png",
    "line\nbreak.png", "carriage\rreturn.png", "both\r\nof.png", "tab\tbed.png", "nul\0byte.png", "\x1b[2Jclear.png",
    "=1+1.png", '=HYPERLINK("http://x","y").png', "+1.png", "-1.png", "@SUM(A1).png", "＝1.png", "-1", "1e5",
    "''=quoted.png", "'plain.png", '""', "a\"\"b,\n'c'.png",
    "trailing.png.", "trailing.png ", "trailing. ", " leading.png", "x" * 300 + ".png", "길" * 150 + ".png",
    "long." + "e" * 200, "😀" * 80 + ".png", "e\u0301.png", "\u00e9.png", "가로수.png",
    unicodedata.normalize("NFD", "가로수.png"), "STRASSE.png", "straße.png", "İ.png", "i̇.png", "ﬁ.png", "fi.png",
    "\u202egnp.exe", "\u200ezero.png", "\ufeffbom.png", "a\u2028b.png", "a\u2029b.png", "a\u0085b.png", "a\u3000b.png",
    "metadata.csv", "METADATA.JSONL", "metadata.parquet", "readme.md", "_SUCCESS.json", "classes.json", "data.yaml",
    "a|b.png", "a?b*c<d>e.png", "#hash.png", "50%.png", "100%25.png", "$(rm -rf).png", "`id`.png", "${HOME}.png",
    "a.b.c.d.png", "no-extension", "UPPER.PNG", "шрифт.png", "שלום.png", "\ud7ff\ue000.png", "\U0010ffff.png",
]  # fmt: skip
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\.|$)", re.IGNORECASE)


def unsafe(path):
    """Why a path of an export would hurt someone; "" when it would not."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or posixpath.normpath(path) != path or ".." in pure.parts or "\\" in path:
        return "leaves the root, or may"
    for leaf in pure.parts:
        if leaf != leaf.strip(" .") and leaf != leaf.lstrip(" ."):
            return "starts or ends with a space or a dot"
        if set(leaf) & set(':*?"<>|#') or any(unicodedata.category(mark) in ("Cc", "Zl", "Zp", "Cs") for mark in leaf):
            return "holds a character that some system forbids"
        if DEVICES.match(leaf) or leaf.startswith("-") or len(leaf.encode()) > 255 or len(leaf.split()) != 1:
            return "is a device, an option, too long or several words"
        if not unicodedata.is_normalized("NFC", leaf):
            return "is not in NFC"
    return ""


@pytest.fixture(scope="module")
def named():
    with TinySynapse([row(number, name=name) for number, name in enumerate(NASTY, 1)]) as synapse:
        yield synapse


@pytest.mark.parametrize("naming", ["original", "id"])
def test_nasty_names_become_safe_ones_and_the_table_leads_back(named, monkeypatch, tmp_path, naming):
    root = tmp_path / "outer" / "root"
    result = named.export(
        monkeypatch, root, naming=naming, formats=FORMATS, split={"by": "hash"}, run={"shard_size": 17}
    )
    assert result.summary
    verify(open_storage(str(root)), full=True)
    files = assert_safe(tmp_path, root)
    rows = records(root)
    assert [int(found["record_id"]) for found in rows] == list(range(1, len(NASTY) + 1))
    assert [read_back(found["original_name"]) for found in rows] == NASTY
    assert len({fold(PurePosixPath(found["output_name"]).stem) for found in rows}) == len(rows)
    for number, (name, found) in enumerate(zip(NASTY, rows, strict=True), 1):
        data = (root / found["output_name"]).read_bytes()
        assert data == picture(number), name
        assert (hashlib.sha256(data).hexdigest(), str(len(data))) == (found["sha256"], found["bytes"])
        stem = PurePosixPath(found["output_name"]).stem
        assert len(PurePosixPath(found["output_name"]).name.encode()) <= MAX_LEAF_BYTES + 32
        if PurePosixPath(found["output_name"]).suffix.lower() in (".png", ".jpg"):
            assert (root / "labels" / found["split"] / f"{stem}.txt").is_file()
            assert (root / "VOCdevkit/VOC2012/Annotations" / f"{stem}.xml").is_file()
        assert (root / "json" / f"{stem}.json").is_file()
        if naming == "id":
            assert stem == str(number)
    assert {found["output_name"] for found in rows} == {file for file in files if is_image(file)}


def assert_safe(outside, root):
    """Nothing is beside the root, and no name in it or in its archives is unsafe or twice there; returns its files."""
    assert [path for path in outside.rglob("*") if path.is_file() and root not in path.parents] == []
    assert not any(path.is_symlink() for path in root.rglob("*"))
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    members = []
    for file in files:
        if file.endswith(".tar"):
            with tarfile.open(root / file) as archive:
                found = archive.getmembers()
            assert all(member.isfile() for member in found)
            members += [f"{file}/{member.name}" for member in found]
    assert {path: why for path in (*files, *members) if (why := unsafe(path))} == {}
    folded = [fold(path) for path in (*files, *members)]
    assert len(set(folded)) == len(folded), "no two are one on a disk that is blind to case or to Unicode's forms"
    return files


def is_image(file):
    folder, _, rest = file.partition("/")
    return folder in ("images", "files") and not rest.endswith("/metadata.parquet") and file != "images/README.md"


def read_back(cell):
    """A name from its cell: one that a spreadsheet would run has an apostrophe more there."""
    return cell[1:] if re.match(r"'+[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]", cell) else cell


def test_names_do_not_depend_on_shards_or_on_what_came_first(monkeypatch, tmp_path):
    rows = [row(number, name=name) for number, name in enumerate(NASTY, 1)]
    digests = set()
    for index, size in enumerate((1000, 7, 1)):
        with TinySynapse(json.loads(json.dumps(rows))) as synapse:
            synapse.export(monkeypatch, tmp_path / str(index), formats=FORMATS, run={"shard_size": size})
        digests.add(tree_digest(open_storage(str(tmp_path / str(index)))))
    assert len(digests) == 1


FRAGMENTS = st.sampled_from(
    [*'aA.-_/\\:*?"<>|%#~ \t\n\r\0,\'=+@', "..", "../", "..\\", "%2e", "%2F", "CON", "NUL.", "COM1", "\u202e",
     "é", "e\u0301", "한", "각", "😀", "ß", "ẞ", "ss", "İ", "\ud800", "\u2028", "\x1b[2J", ".png", ".PNG", ".jpg",
     "x" * 120]
)  # fmt: skip
LISTS = st.lists(
    st.one_of(st.lists(FRAGMENTS, max_size=8).map("".join), st.text(max_size=20)), min_size=40, max_size=40
)


# Not shrunk: each example is an export, and the names are short.
@settings(max_examples=5, phases=[Phase.explicit, Phase.generate])
@given(LISTS, st.sampled_from(["original", "id"]))
def test_no_names_whatsoever_get_out_of_the_root_or_are_lost(tmp_path_factory, names, naming):
    outside = tmp_path_factory.mktemp("fuzz")
    root = outside / "a/b/root"
    rows = [row(number, name=name) for number, name in enumerate(names, 1)]
    with pytest.MonkeyPatch.context() as patch, TinySynapse(rows) as synapse:
        synapse.export(patch, root, naming=naming, formats=FORMATS, run={"shard_size": 9})
    assert_safe(outside, root)
    rows = records(root)
    assert [int(found["record_id"]) for found in rows] == list(range(1, 41))
    for number, (name, found) in enumerate(zip(names, rows, strict=True), 1):
        assert (root / found["output_name"]).read_bytes() == picture(number)
        assert read_back(found["original_name"]) == name.replace("\ud800", "?")
