"""``packaging: tar``: fewer objects, the same files."""

import csv
import subprocess
import tarfile

import pytest

from exporting import digest, export, storage, summary, verify
from pipeline.destination import archives as packages
from pipeline.destination.parts import ManifestParts

PACKED = {"packaging": "tar", "formats": ["coco", "yolo", "voc", "synapse_json"]}


def test_archives_unpacked_give_the_files_that_are_written_one_by_one(tidy, tmp_path):
    export(tidy, tmp_path / "files", **{**PACKED, "packaging": "files"})
    export(tidy, tmp_path / "out", **PACKED)
    verify(tmp_path / "out", full=True)
    loose = {name for name, _ in storage(tmp_path / "out").files()}
    assert not [name for name in loose if name.startswith(("labels/", "json/", "VOCdevkit/VOC2012/Annotations/"))]
    for archive in sorted((tmp_path / "out/packages").iterdir()):
        subprocess.run(["tar", "-xf", archive, "-C", tmp_path / "out"], check=True)
        archive.unlink()
    wanted, found = ({name for name, _ in storage(tmp_path / kind).files()} for kind in ("files", "out"))
    assert found == wanted
    for name in wanted:
        if not name.startswith("metadata/") and name != "_SUCCESS.json":
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "files" / name).read_bytes(), name


def test_archives_do_not_depend_on_shards_workers_or_where_they_are(tidy, place, tmp_path, monkeypatch):
    """Also where a shard's files are in two archives, and where too much is held so that it is put aside."""
    monkeypatch.setattr(packages, "SAMPLES_PER_PACKAGE", 25)
    export(tidy, tmp_path / "golden", **PACKED, run={"shard_size": 1000})
    assert len(list((tmp_path / "golden/packages").iterdir())) == 3
    monkeypatch.setattr("pipeline.destination.shard_writer.BATCH_BYTES", 20_000)
    export(tidy, place, **PACKED, run={"shard_size": 7})
    assert digest(place) == digest(tmp_path / "golden")
    verify(place, full=True)


def test_every_kind_of_name_is_a_member(nasty, tmp_path):
    export(nasty, tmp_path / "out", **PACKED, max_failures="100%")
    export(nasty, tmp_path / "files", **{**PACKED, "packaging": "files"}, max_failures="100%")
    members = {}
    for archive in (tmp_path / "out/packages").iterdir():
        with tarfile.open(archive) as tar:
            members |= {member.name: tar.extractfile(member).read() for member in tar}
            assert all((member.mtime, member.uid, member.mode) == (0, 0, 0o644) for member in tar.getmembers())
    loose = {name for name, _ in storage(tmp_path / "out").files()}
    for name, _ in storage(tmp_path / "files").files():
        if name not in loose and not name.startswith("_staging/"):  # kept for a retry, because some records failed
            assert members.pop(name) == (tmp_path / "files" / name).read_bytes()
    assert not members


def test_an_export_without_single_files_has_no_archives(tidy, tmp_path):
    export(tidy, tmp_path / "out", packaging="tar", formats=["csv"], save_original_file=False)
    assert not (tmp_path / "out/packages").exists()
    verify(tmp_path / "out", full=True)


def test_the_books_count_archives_as_files(tidy, tmp_path):
    result = export(tidy, tmp_path / "out", **PACKED)
    assert result.success.files == len(list(storage(tmp_path / "out").files())) - 1
    assert summary(tmp_path / "out")["config"]["packaging"] == "tar"
    rows = list(csv.DictReader((tmp_path / "out/metadata/files.csv").read_text().splitlines()))
    assert "packages/000000.tar" in {row["path"] for row in rows}


@pytest.mark.parametrize("change", ["tar", "files"])
def test_packaging_is_part_of_what_an_export_is(tidy, tmp_path, change):
    from pipeline.errors import DestinationError  # noqa: PLC0415

    export(tidy, tmp_path / "out", packaging="files" if change == "tar" else "tar")
    with pytest.raises(DestinationError, match="differs in: packaging"):
        export(tidy, tmp_path / "out", packaging=change)


def test_what_is_held_of_archives_is_bounded(tidy, tmp_path, monkeypatch):
    """The pictures that VOC encodes anew go into archives too: a shard of them is not held at once."""
    monkeypatch.setattr("pipeline.destination.shard_writer.BATCH_BYTES", 100_000)
    most = 0
    real = ManifestParts.add

    def measured(self, path, section, item):
        nonlocal most
        real(self, path, section, item)
        most = max(most, self.held)

    monkeypatch.setattr(ManifestParts, "add", measured)
    formats = [{"voc": {"images": "transcode"}}]
    export(tidy, tmp_path / "out", packaging="tar", formats=formats, run={"shard_size": 60})
    size = (tmp_path / "out/packages/000000.tar").stat().st_size
    assert size > 5 * most
