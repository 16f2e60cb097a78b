"""``preview``: what the published files say, drawn on the images of the export."""

import base64
import io
import json
import shutil
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
import yaml
from PIL import Image

from exporting import command, environment, export, settings, write_config
from pipeline.cli.look.preview import terminal_picture
from pipeline.commands.preview import preview_config, preview_export
from pipeline.config.loading import parse_config
from pipeline.errors import ConfigError, DamagedExportError, PreflightError
from pipeline.images.contact_sheet import Drawn, Tile, colour_of, draw_sheet
from pipeline.run import run
from pipeline.storage import open_storage
from stores import environment_of

ALL = {"formats": ["coco", {"yolo": {"task": "segment"}}, "voc"]}


@pytest.fixture(scope="module")
def exported(tidy, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "out"
    export(tidy, path, **ALL)
    return path


def preview(path, **options):
    return preview_export(open_storage(str(path)), **options)


def coco_counts(path):
    counts = Counter()
    for file in path.glob("annotations/*.json"):
        document = json.loads(file.read_bytes())
        names = {category["id"]: category["name"] for category in document["categories"]}
        counts.update(names[entry["category_id"]] for entry in document["annotations"])
    return counts


def yolo_counts(path):
    names = (path / "classes.txt").read_text().splitlines()
    lines = [line for file in path.glob("labels/*/*.txt") for line in file.read_text().splitlines()]
    return Counter(names[int(line.split()[0])] for line in lines)


def voc_counts(path):
    documents = [ET.parse(file) for file in path.glob("VOCdevkit/*/Annotations/*.xml")]
    return Counter(entry.findtext("name") for document in documents for entry in document.iterfind("object"))


@pytest.mark.parametrize(
    ("name", "count"), [("coco", coco_counts), ("yolo", yolo_counts), ("voc", voc_counts)], ids=["coco", "yolo", "voc"]
)
def test_every_object_that_a_format_holds_is_drawn(exported, name, count):
    found = preview(exported, images=200, format_name=name)
    assert (found.format, found.images) == (name, 60)
    assert found.objects == count(exported)
    assert sum(found.objects.values()) > 60


def test_the_sheet_is_a_picture_of_rows_and_the_same_each_time(tidy, exported, tmp_path):
    found = preview(exported, images=6, columns=3)
    with Image.open(io.BytesIO(found.png)) as picture:
        assert (picture.format, picture.size) == ("PNG", (3 * 488 + 8, 2 * 390 + 8))
    assert found.numbers == {"#6": "가로수"}
    export(tidy, tmp_path / "again", **ALL, run={"shard_size": 7})
    assert preview(tmp_path / "again", images=6, columns=3) == found
    assert preview(exported, images=5, columns=3).png != found.png


def plain_picture(size=(960, 720)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (255, 255, 255)).save(buffer, "PNG")
    return buffer.getvalue()


def drawn_at(objects, *points, **more):
    sheet = Image.open(io.BytesIO(draw_sheet([Tile(plain_picture(), "one", objects, **more)], 1)))
    return [sheet.getpixel((8 + x, 8 + y)) for x, y in points]  # the first tile begins at 8, at half the size


def test_boxes_outlines_masks_and_points_are_where_the_numbers_say():
    box = Drawn("car", 1, box=(200, 100, 400, 300))
    edges = [(100, 125), (300, 125), (200, 200), (200, 50)]
    assert drawn_at([box], *edges, (200, 125)) == [colour_of(1)] * 4 + [(255, 255, 255)]
    fractions = Drawn("car", 1, box=(200 / 960, 100 / 720, 400 / 960, 300 / 720))
    assert drawn_at([fractions], *edges, fractions=True) == [colour_of(1)] * 4
    ring = Drawn("car", 2, rings=((200.0, 100.0, 600.0, 100.0, 600.0, 400.0, 200.0, 400.0),))
    inside, outside, edge = drawn_at([ring], (200, 150), (350, 150), (200, 200))
    assert (edge, outside) == (colour_of(2), (255, 255, 255))
    assert inside not in (colour_of(2), (255, 255, 255))
    point = Drawn("car", 3, points=((400.0, 300.0, 2.0), (10.0, 10.0, 0.0)))
    assert drawn_at([point], (200, 150), (5, 5)) == [colour_of(3), (255, 255, 255)]
    mask = Drawn("car", 4, mask=((2, 2), "022"))  # two rows of two columns, the first one set
    left, right = drawn_at([mask], (100, 200), (400, 200))
    assert left != (255, 255, 255) == right


def test_a_picture_that_cannot_be_decoded_is_an_empty_tile():
    sheet = Image.open(io.BytesIO(draw_sheet([Tile(b"no picture", "한", []), Tile(None, "two", [])], 2)))
    assert sheet.getpixel((100, 100)) == sheet.getpixel((588, 100)) == (63, 63, 70)


def test_a_configuration_shows_the_newest_records_and_writes_nothing(tidy, tmp_path):
    lock = tmp_path / "classes.json"
    values = settings(tidy, tmp_path / "out", **ALL, classes={"lock": str(lock)}, on_existing="overwrite")
    with environment_of(tidy.environment()):
        found = preview_config(parse_config(yaml.safe_dump(values)), run, images=5)
    newest = [thing for record in tidy.truth("task")[-5:] for media in record.media for thing in media.things]
    assert found.images == 5
    assert not list(tmp_path.iterdir())
    boxes = Counter(thing.label for thing in newest if thing.tool in ("bounding_box", "polygon", "segmentation"))
    persons = {thing.group for thing in newest if thing.group}
    assert found.objects == boxes + Counter(person=len(persons))


def test_a_configuration_without_a_format_to_draw_is_shown_as_coco(tidy, tmp_path):
    values = settings(tidy, tmp_path / "out", formats=["csv"], save_original_file=False)
    with environment_of(tidy.environment()):
        assert preview_config(parse_config(yaml.safe_dump(values)), run, images=3).format == "coco"


@pytest.mark.slow
def test_a_nasty_export_can_be_looked_at(nasty, tmp_path):
    export(nasty, tmp_path / "out", formats=["coco", "voc"], max_failures="100%", exif="ignore")
    for name in ("coco", "voc"):
        found = preview(tmp_path / "out", images=80, format_name=name)
        assert found.images > 60
        assert found.objects


def test_what_cannot_be_shown_is_refused(tidy, exported, tmp_path):
    with pytest.raises(PreflightError, match="no finished export"):
        preview(tmp_path)
    with pytest.raises(ConfigError, match="format webdataset: cannot be drawn of an export that has coco, voc, yolo"):
        preview(exported, format_name="webdataset")
    export(tidy, tmp_path / "bare", formats=["coco"], save_original_file=False)
    with pytest.raises(PreflightError, match="has no copied image"):
        preview(tmp_path / "bare")
    shutil.copytree(exported, tmp_path / "damaged")
    for file in (tmp_path / "damaged").glob("labels/*/*.txt"):
        file.write_text("99 0.5\n")
    with pytest.raises(DamagedExportError, match=r"labels/.*: is not as it was written"):
        preview(tmp_path / "damaged", format_name="yolo")
    for file in (tmp_path / "damaged").glob("VOCdevkit/*/Annotations/*.xml"):
        file.write_bytes(b'<!DOCTYPE a [<!ENTITY b "c">]><annotation/>')
    with pytest.raises(DamagedExportError, match=r"Annotations/"):
        preview(tmp_path / "damaged", format_name="voc")


def test_the_command_writes_the_picture_and_says_where(tidy, exported, tmp_path):
    done = command("preview", exported, "--images", "2", "-o", tmp_path / "sheet.png", env=environment())
    assert done.returncode == 0, done.stderr
    assert f"picture: {tmp_path / 'sheet.png'}" in done.stdout
    assert "\x1b" not in done.stdout
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.size[0] == 2 * 488 + 8
    config = write_config(tmp_path, settings(tidy, tmp_path / "later", **ALL))
    done = command("preview", config, "--images", "2", "-o", tmp_path / "two.png", env=environment(tidy))
    assert "2 images of the newest records" in done.stdout, done.stderr
    assert not (tmp_path / "later").exists()


def test_terminals_that_show_pictures_are_known():
    png = bytes(range(256)) * 40
    kitty = terminal_picture(png, {"KITTY_WINDOW_ID": "1"})
    chunks = [part.partition(";") for part in kitty.split("\x1b\\")[:-1]]
    assert base64.b64decode("".join(chunk for _, _, chunk in chunks)) == png
    assert [head[-1] for head, _, _ in chunks] == ["1"] * (len(chunks) - 1) + ["0"]
    iterm = terminal_picture(png, {"TERM_PROGRAM": "iTerm.app"})
    assert base64.b64decode(iterm.removesuffix("\a").rpartition(":")[2]) == png
    assert terminal_picture(png, {"TERM": "xterm-256color"}) == ""
