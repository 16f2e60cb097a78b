"""The report and the card of exports: their numbers, their bounds, and what they never show or load."""

import base64
import csv
import html.parser
import io
import json
import random
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from PIL import Image
from pycocotools.coco import COCO

from browser import CHROMIUM, look_at
from exporting import command, environment, export, storage, summary, verify
from pipeline.reasons import Reason
from pipeline.report.page import make_page, read_statistics, shown_configuration
from pipeline.report.texts import TEXTS, reason_in_words
from pipeline.statistics.totals import Drawing, DrawnSample, Statistics
from pipeline.storage import open_storage

PAGE, NUMBERS = "metadata/report.html", "metadata/statistics.json"
_MOST = 3 * 2**20


class Page(html.parser.HTMLParser):
    """A page as a browser takes it apart: its tags with their attributes, its text and its scripts."""

    def __init__(self, data):
        super().__init__()
        self.tags = []
        self.text = ""
        self.feed(data.decode())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def tidy_export(tidy, tmp_path_factory):
    path = tmp_path_factory.mktemp("tidy") / "out"
    export(tidy, path, formats=["coco", "csv"], run={"shard_size": 17}, report=True)
    return path


@pytest.fixture(scope="module")
def nasty_export(nasty, tmp_path_factory):
    path = tmp_path_factory.mktemp("nasty") / "out"
    export(nasty, path, formats=["coco", "yolo"], max_failures="100%", report={"language": "ko"})
    return path


@pytest.fixture(scope="module")
def no_originals(tidy, tmp_path_factory):
    path = tmp_path_factory.mktemp("bare") / "out"
    export(tidy, path, formats=["coco"], save_original_file=False, run={"shard_size": 9}, report=True)
    return path


def page_of(path):
    return Page((path / PAGE).read_bytes())


def test_the_numbers_are_those_that_pycocotools_and_the_file_itself_give(tidy_export, capsys):
    statistics = read_statistics(open_storage(str(tidy_export)))
    compared = 0
    for split in ("train", "val", "test"):
        file = tidy_export / f"annotations/instances_{split}.json"
        coco, plain = COCO(str(file)), json.loads(file.read_text())
        assert statistics.images[split] == len(plain["images"])
        for category in plain["categories"]:
            ids = coco.getAnnIds(catIds=[category["id"]])
            own = [one for one in plain["annotations"] if one["category_id"] == category["id"]]
            assert len(ids) == len(own)
            if not own:
                continue
            areas = [one["bbox"][2] * one["bbox"][3] for one in coco.loadAnns(ids)]
            counted = statistics.classes[category["name"]][split]
            assert counted.objects == len(own)
            assert counted.images == len({one["image_id"] for one in own})
            small, medium = sum(area < 32**2 for area in areas), sum(32**2 <= area < 96**2 for area in areas)
            assert (counted.small, counted.medium, counted.large) == (small, medium, len(own) - small - medium)
            compared += len(own)
    assert compared > 200
    capsys.readouterr()  # pycocotools tells of its progress


def test_every_annotation_of_the_table_is_counted_once(tidy_export):
    statistics = read_statistics(open_storage(str(tidy_export)))
    (table,) = tidy_export.glob("**/annotations.csv")
    with table.open(newline="") as file:
        tools = Counter(row["tool"] for row in csv.DictReader(file) if row["tool"])  # an empty image has a row
    names = {"box": "bounding_box", "mask": "segmentation", "point": "keypoint", "whole image": "classification"}
    assert {names.get(kind, kind): number for kind, number in statistics.kinds.items()} == tools


def test_the_numbers_do_not_depend_on_shards_and_processes(tidy, tidy_export, no_originals, tmp_path):
    export(tidy, tmp_path / "a", formats=["coco", "csv"], run={"shard_size": 60}, report=True)
    assert (tmp_path / "a" / NUMBERS).read_bytes() == (tidy_export / NUMBERS).read_bytes()
    assert (tmp_path / "a/README.md").read_bytes() == (tidy_export / "README.md").read_bytes()
    run = {"shard_size": 25, "executor": "processes", "workers": 2}
    export(tidy, tmp_path / "b", formats=["coco"], save_original_file=False, run=run, report=True)
    assert (tmp_path / "b" / NUMBERS).read_bytes() == (no_originals / NUMBERS).read_bytes()


@pytest.mark.parametrize("name", ["tidy_export", "nasty_export", "no_originals"])
def test_a_page_loads_nothing_and_says_what_its_pictures_show(request, name):
    path = request.getfixturevalue(name)
    data = (path / PAGE).read_bytes()
    page = page_of(path)
    assert len(data) <= _MOST
    for tag, attributes in page.tags:
        for key, value in attributes.items():
            if key in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
                assert value.startswith("data:"), (tag, key, value)
            assert not key.startswith("on"), (tag, key)
    assert not re.search(rb"url\(|@import|fetch\(|XMLHttpRequest", data)
    assert len(page.all("script")) == 1
    assert len(page.all("h1")) == 1
    assert all(image["alt"] for image in page.all("img"))
    for picture in page.all("svg"):
        assert picture.get("aria-label") or picture.get("aria-hidden") == "true"
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(headings))
    verify(path, full=True)


def test_every_sample_has_its_picture_and_its_annotations(tidy_export):
    statistics, page = read_statistics(open_storage(str(tidy_export))), page_of(tidy_export)
    assert len(statistics.samples) == len(page.all("img")) == 24
    shown = {label for one in statistics.samples for label in one.labels}
    assert {entry["name"] for entry in summary(tidy_export)["classes"]} == shown
    drawn = sum(len(one.drawings) for one in statistics.samples)
    shapes = [a for tag in ("polygon", "polyline", "path") for a in page.all(tag)]
    assert drawn == len(shapes) > 100
    for image in page.all("img"):
        picture = Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2])))
        assert picture.width / picture.height == pytest.approx(int(image["width"]) / int(image["height"]), rel=0.02)


def test_a_page_without_originals_says_so(no_originals):
    page = page_of(no_originals)
    assert not page.all("img")
    assert "save_original_file: false" in page.text
    assert "16" in page.text


def test_a_nasty_export_is_shown_in_korean_with_its_names_as_text(nasty_export):
    page = page_of(nasty_export)
    assert page.all("html") == [{"lang": "ko"}]
    assert TEXTS["ko"]["books"] in page.text
    assert TEXTS["en"]["books_note"] not in page.text
    told = summary(nasty_export)
    assert f"{told['failed_records']:,}" in page.text
    assert reason_in_words("INVALID_GEOMETRY", "ko") in page.text
    hostile = [entry["name"] for entry in told["classes"] if "<" in entry["name"]]
    assert hostile
    assert all(name in page.text for name in hostile)
    statistics = read_statistics(open_storage(str(nasty_export)))
    assert {"outside_image", "empty_image"} <= set(statistics.findings)
    for name, found in statistics.findings.items():
        assert TEXTS["ko"][name] in page.text
        assert str(found.records[0]) in page.text


def test_both_languages_have_every_text_and_every_reason():
    assert TEXTS["en"].keys() == TEXTS["ko"].keys()
    for language in TEXTS:
        assert all(reason_in_words(reason, language) for reason in Reason)
    fields = re.compile(r"\{\d*\}")
    for key, text in TEXTS["en"].items():
        assert sorted(fields.findall(text)) == sorted(fields.findall(TEXTS["ko"][key])), key


def test_no_secret_is_shown(tidy_export):
    told = summary(tidy_export)
    told["config"]["storage_options"] = {"secret": "hunter2", "endpoint_url": "https://me:hunter2@host"}
    told["description"] = "from https://me:hunter2@host/x?X-Amz-Signature=hunter2"
    told["warnings"] = ["see s3://me:hunter2@bucket/a"]
    told["how_to_read"] = {"coco": "COCO('https://host/a?sig=hunter2')"}
    data = make_page(open_storage(str(tidy_export)), told)
    assert b"hunter2" not in data
    assert b"https://host/x" in data
    assert "hunter2" not in shown_configuration(told["config"])


def test_a_page_has_at_most_3_mb_whatever_is_in_it():
    place = open_storage("memory://report-bound")
    noise = random.Random(0)
    label = "가<&" * 80
    picture = io.BytesIO()
    Image.frombytes("RGB", (800, 800), noise.randbytes(800 * 800 * 3)).save(picture, "JPEG", quality=95)
    place.write("images/train/a.jpg", picture.getvalue())
    ring = tuple(noise.randrange(1000) for _ in range(96))
    drawings = tuple(Drawing(f"{label}{n}", "ring", ring) for n in range(60))
    labels = tuple(f"{label}{n}" for n in range(60))
    sample = DrawnSample(0, 1, "image_1", "train", "images/train/a.jpg", 800, 800, labels, drawings)
    samples = [msgspec.structs.replace(sample, record_id=n) for n in range(24)]
    place.write(
        NUMBERS, msgspec.json.encode(Statistics(images={"train": 24}, per_image={"train": {60: 24}}, samples=samples))
    )
    count = {"seen": 24, "written": 24, "skipped": {}, "failed": {}, "lossy": {}}
    told = {
        "name": "n" * 200, "description": "d" * 100_000, "finished": "", "target": "task",
        "project": {"id": 1, "title": "t"}, "records": count, "failed_records": 0, "annotations": count,
        "originals": count, "formats": {}, "splits": {"train": 24}, "warnings": ["w" * 100_000] * 100,
        "classes": [{"name": f"{label}{n}"} for n in range(20_000)], "seconds": {}, "versions": {},
        "config": {"filter": {"ids": list(range(200_000))}},
    }  # fmt: skip
    page = make_page(place, told)
    assert 500_000 < len(page) <= _MOST
    assert Page(page).all("img")


def test_the_report_of_an_export_that_is_there_leaves_it_as_it_is(tidy_export, tmp_path):
    output = tmp_path / "page.html"
    before = {file: file.stat().st_mtime_ns for file in tidy_export.rglob("*")}
    done = command("report", tidy_export, "--output", output, "--language", "ko", env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{output}: {output.stat().st_size:,} bytes\n"
    assert {file: file.stat().st_mtime_ns for file in tidy_export.rglob("*")} == before
    page = Page(output.read_bytes())
    assert page.all("html") == [{"lang": "ko"}]
    assert page.all("img") == [
        {**image, "alt": found["alt"]}
        for image, found in zip(page_of(tidy_export).all("img"), page.all("img"), strict=True)
    ]
    nothing = command("report", tmp_path / "nothing", env=environment(), cwd=tmp_path)
    assert nothing.returncode == 2
    assert "holds no finished export" in nothing.stderr


def test_without_a_report_nothing_of_it_is_written(tidy, tmp_path):
    export(tidy, tmp_path / "out", formats=["coco"], save_original_file=False, report=False)
    for name in (PAGE, NUMBERS, "README.md"):
        assert storage(tmp_path / "out").size(name) is None
    verify(tmp_path / "out", full=True)
    page = make_page(open_storage(str(tmp_path / "out")), summary(tmp_path / "out"))
    assert TEXTS["en"]["not_measured"] in Page(page).text


def test_duplicates_are_shown_where_an_export_lists_them(tidy_export, tmp_path):
    place = open_storage(str(tmp_path))
    place.write("metadata/duplicates.csv", b"sha256,splits,records\nabc,train val,1 2\n")
    found = {"policy": "report", "originals": 60, "files": 4, "groups": 2, "across_splits": 1}
    text = Page(make_page(place, {**summary(tidy_export), "duplicates": found})).text
    assert TEXTS["en"]["duplicates"] in text
    assert "60 originals were compared by their sha256: 4 files are copies of 2 pictures; 1 of these is in more" in text
    assert "train val" in text
    assert "60 originals were compared by their sha256: no two are the same" in page_of(tidy_export).text


def test_the_card_tells_classes_splits_and_how_to_load(tidy_export, nasty_export):
    card = (tidy_export / "README.md").read_text()
    for entry in summary(tidy_export)["classes"]:
        name = entry["name"].replace("_", r"\_")
        assert f"| {name} | " + " | ".join(f"{entry['objects'].get(s, 0):,}" for s in ("train", "val", "test")) in card
    assert "pycocotools: COCO('./annotations/instances_train.json')" in card
    assert str(Path(tidy_export).parent) not in card
    assert (nasty_export / "README.md").read_text().startswith("---\npretty_name")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280, 1920])
@pytest.mark.parametrize("name", ["tidy_export", "nasty_export"])
def test_a_browser_shows_a_page_without_overflow_complaint_or_request(request, name, width, dark):
    seen = look_at(request.getfixturevalue(name) / PAGE, width=width, dark=dark)
    assert seen.scroll_width <= width
    assert not seen.complaints
    assert not seen.requests
    ground = Image.open(io.BytesIO(seen.picture)).convert("L").getpixel((2, 2))
    assert ground < 60 if dark else ground > 200
