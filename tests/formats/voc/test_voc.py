"""Pascal VOC, read as its readers read it."""

import io
import re
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import ConfigError
from pipeline.formats import Entry, load_format
from pipeline.formats.testing import FormatCases, catalog_of, join_samples, samples
from pipeline.formats.testing.shapes import bitmap_of, box
from pipeline.formats.voc.format import Voc
from pipeline.images.palette import PALETTE
from pipeline.model.naming import safe_leaf
from pipeline.records import Annotation, Whole
from tests.formats.voc.cases import HOME, sample_with
from tests.formats.voc.grammar import check_voc_tree, voc_colours
from tests.formats.write_docs import ROOT
from tests.formats.write_golden import golden


def decoded(tree):
    """The tree with pixels in place of planes: the bytes of a compressed picture change with the library."""
    planes = {path: data for path, data in tree.items() if "/Segmentation" in path and path.endswith(".png")}
    return tree | {path: np.asarray(Image.open(io.BytesIO(data))).tolist() for path, data in planes.items()}


class VocCases(FormatCases):
    def check(self, tree):
        super().check({path: data for path, data in tree.items() if not path.endswith(".txt")})
        check_voc_tree(tree, names_as_made=False)

    def written_annotations(self, tree):
        images = check_voc_tree(tree, names_as_made=False).images
        ids = {sample.stem: sample.image_id for sample in self.samples()}
        return {ids[stem]: len(image.objects) for stem, image in images.items()}


class TestVoc(VocCases):
    format = Voc()

    def test_writes_the_golden_files(self):
        assert decoded(self.tree()) == decoded(golden("voc"))

    def test_every_usable_image_is_in_the_list_of_its_split_in_the_order_of_records(self):
        found = check_voc_tree(self.tree(), names_as_made=False)
        usable = [sample for sample in self.samples() if sample.sample.has_image]
        for split in ("train", "val", "test"):
            assert found.main[split] == [sample.stem for sample in usable if sample.split == split]
        assert found.main["trainval"] == found.main["train"] + found.main["val"]

    def test_the_planes_are_what_painting_the_annotations_gives(self):
        (masks,) = [sample for sample in self.samples() if sample.stem == "masks"]
        found = check_voc_tree(self.tree(), names_as_made=False)
        classes, instances = (np.zeros((40, 60), dtype=np.uint8) for _ in range(2))
        for number, annotation in enumerate(masks.sample.annotations, start=1):
            inside = bitmap_of(annotation.shape, 60, 40) == 1
            classes[inside] = found.labels.index(annotation.label)
            instances[inside] = number
        assert (found.images["masks"].classes == classes).all()
        assert (found.images["masks"].instances == instances).all()


class TestVocOfAnotherYearWithClassSets(VocCases):
    format = Voc(year=2007, images="transcode", class_sets=True)

    def written_annotations(self, tree):
        written = super().written_annotations(tree)
        written[1] += 1  # a classification, which is in the lists
        return written


class TestVocWithSemanticMasks(VocCases):
    format = Voc()

    def catalog(self):
        return catalog_of(self.samples(), masks="semantic")

    def written_annotations(self, tree):
        written = super().written_annotations(tree)
        written[1] += 1
        written[next(sample.image_id for sample in self.samples() if sample.stem == "masks")] += 1
        return written


class TestVocWithoutMasks(VocCases):
    format = Voc()

    def catalog(self):
        return catalog_of(self.samples(), masks="exclude")


class TestVocWithoutOriginals(VocCases):
    format = Voc()

    def samples(self):
        return [msgspec.structs.replace(sample, original=None) for sample in samples()]

    def check(self, tree):
        check_voc_tree(tree, images=False, names_as_made=False)

    def written_annotations(self, tree):
        return None


# Images


def image_entries(file_name, voc):
    sample = sample_with(file_name=file_name)
    (entry,) = [e for e in voc.render(sample, catalog_of([sample])) if isinstance(e, Entry) and "JPEGImages" in e.path]
    return entry.path.rpartition("/")[2], entry.original, entry.as_jpeg


@pytest.mark.parametrize("name", ["photo.jpg", "photo.JPG", "photo.jpeg", "photo.jfif"])
@pytest.mark.parametrize("images", ["keep", "transcode"])
def test_a_jpeg_is_copied_under_the_name_the_readers_look_for(name, images):
    assert image_entries(name, Voc(images=images)) == ("photo.jpg", True, False)


@pytest.mark.parametrize("name", ["photo.png", "photo.TIF", "photo"])
def test_another_picture_keeps_its_name_or_becomes_a_jpeg(name):
    assert image_entries(name, Voc()) == (name, True, False)
    assert image_entries(name, Voc(images="transcode")) == ("photo.jpg", True, True)


def test_an_image_that_was_not_copied_is_not_there():
    sample = msgspec.structs.replace(sample_with(), original=None)
    tree = join_samples(Voc(), [sample], catalog_of([sample]))
    check_voc_tree(tree, images=False)
    assert ET.fromstring(tree[f"{HOME}/Annotations/photo.xml"]).findtext("filename") == "photo.jpg"


# Lists


def test_lists_of_classes_say_which_images_show_one():
    sample = sample_with(
        box("a", "car", 1.0, 1.0, 5.0, 5.0),
        box("b", "car", 1.0, 1.0, 5.0, 5.0, difficult=True),
        box("c", "bus", 1.0, 1.0, 5.0, 5.0, difficult=True),
        Annotation("d", "classification", "sunny", Whole()),
    )
    tree = join_samples(Voc(class_sets=True), [sample], catalog_of([sample], configured=("car", "bus", "road", "a/b")))
    for name, value in {"car": " 1", "bus": " 0", "road": "-1", "sunny": " 1", "class4": "-1"}.items():
        assert tree[f"{HOME}/ImageSets/Main/{name}_train.txt"].decode() == f"photo {value}\n"


def test_the_list_of_a_class_never_takes_the_name_of_a_list_of_images():
    sample = msgspec.structs.replace(sample_with(), split="car_train")
    other = msgspec.structs.replace(sample_with(), split="train", stem="other", image_id=99)
    catalog = catalog_of([sample, other], configured=("car", "Car_train"))
    found = check_voc_tree(join_samples(Voc(class_sets=True), [sample, other], catalog))
    assert found.main["car_train"] == ["photo"]


def test_a_split_that_is_called_trainval_is_a_list_of_its_own():
    sample = msgspec.structs.replace(sample_with(), split="trainval")
    other = msgspec.structs.replace(sample_with(), stem="other")
    tree = join_samples(Voc(), [sample, other], catalog_of([sample, other]))
    assert tree[f"{HOME}/ImageSets/Main/trainval.txt"] == b"photo\n"


def test_samples_of_no_split_are_not_trained_on():
    sample = msgspec.structs.replace(sample_with(), split="unassigned")
    tree = join_samples(Voc(), [sample], catalog_of([sample]))
    assert [path for path in tree if "/Main/" in path] == [f"{HOME}/ImageSets/Main/unassigned.txt"]


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])).map(safe_leaf).filter(bool), min_size=2))
def test_ids_are_read_by_numpy_as_detectron2_reads_them(stems):
    lines = "".join(f"{stem}\n" for stem in stems)
    assert np.loadtxt(io.StringIO(lines), dtype=str).tolist() == stems


@pytest.mark.parametrize("stem", ["0012", "1e5", '"quoted"', "a,b", "nan", "'", "#1", "a b", "a\u3000b"])
def test_ids_that_look_like_something_else_stay_what_they_are(stem):
    stem = safe_leaf(stem)
    assert np.loadtxt(io.StringIO(f"{stem}\nx\n"), dtype=str).tolist() == [stem, "x"]


# Options and page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"year": 2013}, "from 2007 to 2012, not 2013"),
        ({"year": "2012"}, "from 2007 to 2012, not '2012'"),
        ({"year": True}, "from 2007 to 2012, not True"),
        ({"images": "copy"}, "images: must be one of keep, transcode, not 'copy'"),
        ({"class_sets": "no"}, "class_sets: must be true or false, not 'no'"),
    ],
)
def test_only_known_options_are_accepted(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_format("voc", options)


def test_the_palette_is_the_one_of_the_development_kit():
    assert voc_colours().tobytes() == PALETTE


def test_the_page_shows_how_to_load_it(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "formats" / "voc.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "JPEG")
    for path, data in join_samples(Voc(images="transcode"), samples(), catalog_of(samples())).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(picture.getvalue() if "JPEGImages" in path else data)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "voc.md", "exec"), {})
    assert "street car (21, 24, 44, 44)" in capsys.readouterr().out
