"""What the write and merge stages do for formats: originals in other trees and in joined files, and transforms."""

import csv
import os
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from exporting import command, digest, environment, export, settings, summary, write_config
from pipeline.errors import ConfigError, FormatError
from pipeline.formats import Entry, Manifest, Section
from pipeline.formats.images import without_image
from pipeline.sandbox import Sandbox, SandboxOptions
from pipeline.sandbox.scenes import colour_of


class Albums:
    """A format that puts each image into a folder of its own, as JPEG too, and all of them into one file per split."""

    name = "albums"
    needs_payload = False
    needs_originals = True

    def manifests(self, catalog):
        for split in catalog.splits:
            yield Manifest(f"album/{split}.bin", (Section("pages", b"<album>", b"", b"</album>"),))
            yield Manifest(
                f"album/{split}.txt", (Section("lines"),), transform="tests.destination.test_shard_writer:shouted"
            )

    def render(self, sample, catalog):
        if not sample.sample.has_image:
            return without_image(sample.sample)
        pages = f"album/{sample.split}.bin"
        return [
            Entry(pages, b"[%d]" % sample.original.size, "pages"),
            Entry(pages, section="pages", original=True),
            Entry(f"album/{sample.split}.txt", b"%d %d\n" % (sample.position, sample.image_id), "lines"),
            Entry(f"copies/{sample.stem}/{sample.file_name}", original=True),
            Entry(f"jpegs/{sample.stem}.jpg", original=True, as_jpeg=True),
            *without_image(sample.sample)[1:],
        ]


def shouted(chunks):
    for chunk in chunks:
        yield chunk.replace(b" ", b" IMAGE ")


ALBUMS = ["tests.destination.test_shard_writer:Albums"]


def rows(path):
    text = (Path(path) / "metadata/records.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def lossy(path):
    return summary(path)["originals"]["lossy"]


@pytest.fixture(scope="module")
def exported(tidy, tmp_path_factory):
    path = tmp_path_factory.mktemp("albums")
    export(tidy, path, formats=ALBUMS)
    return path


def test_an_original_is_in_every_tree_that_asks_for_it_and_stored_once(exported):
    for row in rows(exported):
        original = exported / row["output_name"]
        stem = original.stem
        copy = exported / "copies" / stem / original.name
        assert copy.read_bytes() == original.read_bytes()
        assert os.path.samefile(copy, original)
        with Image.open(exported / "jpegs" / f"{stem}.jpg") as image:
            assert (image.format, image.size) == ("JPEG", (int(row["width"]), int(row["height"])))


def test_originals_are_joined_into_one_file_in_the_order_of_records(exported):
    for split, count in summary(exported)["splits"].items():
        own = [exported / row["output_name"] for row in rows(exported) if row["split"] == split]
        assert len(own) == count
        expected = b"".join(b"[%d]" % len(data) + data for data in (path.read_bytes() for path in own))
        assert (exported / f"album/{split}.bin").read_bytes() == b"<album>" + expected + b"</album>"


def test_positions_count_the_images_of_a_split_and_transforms_are_applied(exported):
    for split in summary(exported)["splits"]:
        numbers = [int(row["image_id"]) for row in rows(exported) if row["split"] == split]
        text = (exported / f"album/{split}.txt").read_text()
        assert text == "".join(f"{position} IMAGE {number}\n" for position, number in enumerate(numbers))


def test_an_export_with_joined_originals_can_be_verified(exported):
    finished = command("verify", exported, "--full", env=environment())
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("run", [{"shard_size": 7}, {"shard_size": 1000, "page_size": 9}])
def test_any_cut_into_shards_gives_the_same_bytes(tidy, exported, tmp_path, run):
    export(tidy, tmp_path, formats=ALBUMS, run=run)
    assert digest(tmp_path) == digest(exported)


def test_a_finished_shard_is_not_written_again_and_a_missing_copy_is(tidy, exported, tmp_path):
    export(tidy, tmp_path, formats=ALBUMS, run={"keep_staging": True})
    victim = next((tmp_path / "copies").glob("*/*"))
    (tmp_path / "_SUCCESS.json").unlink()
    victim.unlink()
    export(tidy, tmp_path, formats=ALBUMS)
    assert victim.exists()
    assert digest(tmp_path) == digest(exported)


def test_a_format_of_images_needs_copies_of_them(tidy, tmp_path):
    with pytest.raises(ConfigError, match="save_original_file"):
        export(tidy, tmp_path, formats=ALBUMS, save_original_file=False)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_become_a_jpeg_fails_its_record_only(tmp_path):
    with Sandbox(SandboxOptions(profile="nasty", records=8, kinds=("truncated_image",))) as sandbox:
        export(sandbox, tmp_path, formats=[*ALBUMS, "coco"], max_failures=8)
        kinds = {record.key: record.kind for record in sandbox.truth("task")}
    failures = [msgspec.json.decode(line) for line in (tmp_path / "metadata/failures.jsonl").read_bytes().splitlines()]
    assert {failure["reason"] for failure in failures} == {"ITEM_CONVERSION_FAILED"}
    assert {kinds[failure["record_id"]] for failure in failures} == {"truncated_image"}
    assert len(failures) == sum(kind == "truncated_image" for kind in kinds.values())
    assert len(list((tmp_path / "jpegs").iterdir())) == 8 - len(failures)
    assert summary(tmp_path)["formats"]["coco"]["samples"]["written"] == 8


TURNED = ("exif_rotated", "exif_upright", "size_wrong", "trailing_bytes", "truncated_image")


@pytest.fixture(scope="module")
def turned():
    with Sandbox(SandboxOptions(profile="nasty", records=20, kinds=TURNED)) as sandbox:
        yield sandbox


def images_of(path, sandbox, kind):
    """Rows of ``records.csv`` of one kind, with the truth of the record's media."""
    truth = {record.key: record for record in sandbox.truth("task")}
    for row in rows(path):
        record = truth[int(row["record_id"])]
        if record.kind == kind:
            yield row, record.media[0], Image.open(Path(path) / row["output_name"])


def test_turned_and_wrong_pictures_are_reported_and_copied_as_they_are(turned, tmp_path):
    export(turned, tmp_path, formats=["coco"])
    assert lossy(tmp_path) == {
        "EXIF_ORIENTATION": 4,
        "SIZE_CORRECTED": 2,
        "IMAGE_UNTERMINATED": 4,
    }
    text = "\n".join(summary(tmp_path)["warnings"])
    assert "4 images are stored turned" in text
    assert "2 images are not of the size" in text
    for kind, orientation in (("exif_rotated", "6"), ("exif_upright", "6"), ("size_wrong", "1")):
        for row, media, image in images_of(tmp_path, turned, kind):
            assert row["orientation"] == orientation
            assert row["source_sha256"] == ""
            with image:
                size = (int(row["width"]), int(row["height"]))
                assert size == (image.size[::-1] if kind == "exif_upright" else image.size)
                assert kind == "size_wrong" or size == (media.width, media.height)
    findings = [msgspec.json.decode(line) for line in (tmp_path / "metadata/losses.jsonl").read_bytes().splitlines()]
    assert sum(finding["format"] == "originals" for finding in findings) == 10


def test_baked_pictures_are_upright_for_every_reader(turned, tmp_path):
    export(turned, tmp_path, formats=["coco"], exif="bake")
    assert lossy(tmp_path)["EXIF_BAKED"] == 4
    assert "EXIF_ORIENTATION" not in lossy(tmp_path)
    for kind in ("exif_rotated", "exif_upright"):
        for row, media, image in images_of(tmp_path, turned, kind):
            with image:
                assert image.size == (media.width, media.height) == (int(row["width"]), int(row["height"]))
                assert 0x0112 not in image.getexif()
                _assert_drawn(image.convert("RGB"), media)
            assert row["source_sha256"] not in ("", row["sha256"])
    finished = command("verify", tmp_path, "--full", env=environment())
    assert finished.returncode == 0, finished.stderr


def _assert_drawn(image, media):
    """Every box is filled with the colour of its class where its annotation says."""
    boxes = [thing for thing in media.things if thing.tool == "bounding_box"]
    assert boxes
    for thing in boxes:
        x, y, width, height = thing.geometry[:4]
        corner = image.getpixel((round(x + width - 4), round(y + height - 4)))
        assert corner == pytest.approx(colour_of(thing.label), abs=45)


def test_pictures_that_are_not_looked_at_are_copied_blindly(turned, tmp_path):
    export(turned, tmp_path, formats=["coco"], exif="ignore")
    assert lossy(tmp_path) == {}
    for row, _, image in images_of(tmp_path, turned, "size_wrong"):
        with image:
            assert (int(row["width"]), int(row["height"])) != image.size


def test_the_policy_is_part_of_what_an_export_is(turned, tmp_path):
    export(turned, tmp_path, formats=["coco"])
    config = write_config(tmp_path.parent, settings(turned, tmp_path, formats=["coco"], exif="bake"))
    finished = command("run", config, env=environment(turned))
    assert finished.returncode == 2
    assert "exif" in finished.stderr


@pytest.mark.parametrize("images", ["keep", "transcode"])
def test_images_that_readers_will_not_find_are_warned_of(tidy, tmp_path, images):
    export(tidy, tmp_path, formats=[{"voc": {"images": images}}])
    books, pictures = summary(tmp_path)["formats"]["voc"]["samples"], [row["output_name"] for row in rows(tmp_path)]
    others = sum(not name.endswith(".jpg") for name in pictures)
    assert others > 10
    assert books["written"] == len(pictures)
    assert books["lossy"] == ({"IMAGE_NOT_JPEG": others} if images == "keep" else {})
    warned = [warning for warning in summary(tmp_path)["warnings"] if "IMAGE_NOT_JPEG" in warning]
    assert [warning.split()[1] for warning in warned] == ([str(others)] if images == "keep" else [])


def test_a_skeleton_that_does_not_exist_stops_the_export_before_anything_is_written(tidy, tmp_path):
    with pytest.raises(ConfigError, match="dinosaur"):
        export(tidy, tmp_path, formats=[{"yolo": {"task": "pose", "skeleton": "dinosaur"}}])
    assert {path.name for path in tmp_path.iterdir()} == {"_staging"}


class Impostor(Albums):
    """Claims a file of another format."""

    name = "impostor"

    def manifests(self, catalog):
        yield Manifest("annotations.csv", (Section("rows"),))


def test_two_formats_that_write_the_same_file_stop_the_export_before_anything_is_written(tidy, tmp_path):
    with pytest.raises(FormatError, match=r"annotations\.csv, which is also written by csv"):
        export(tidy, tmp_path, formats=["csv", "tests.destination.test_shard_writer:Impostor"])
    assert {path.name for path in tmp_path.iterdir()} == {"_staging"}
