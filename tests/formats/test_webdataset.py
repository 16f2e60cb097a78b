import io
import json
import tarfile

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.formats import Entry, Loss, load_format
from pipeline.formats.testing import FormatCases, find_losses, join_samples, original_of, strict_json
from pipeline.formats.webdataset import WebDataset, choose_suffix
from pipeline.records import Original
from tests.formats.row_checks import ANNOTATIONS, TEXT, check_against_source, check_row, sample_with
from tests.formats.tables.grammar import ANNOTATION, COLUMNS, MEDIA, check_rows
from tests.formats.tar_grammar import IMAGES, tar_samples
from tests.formats.write_golden import golden

# pycocotools and NumPy 2; nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def documents(tree):
    """The annotation documents of all files, by key."""
    found = {}
    for data in tree.values():
        for key, parts in tar_samples(data).items():
            assert key not in found, "a key is there twice"
            found[key] = strict_json(parts["json"])
    return found


def rows_of(document):
    """The rows a document stands for, as a table would have them."""
    media = {name: document.get(name) for name in MEDIA}
    assert document.keys() <= {*MEDIA, "annotations"}
    rows = []
    for annotation in document["annotations"]:
        assert annotation.keys() <= ANNOTATION.keys()
        # Only JSON of the platform's own may be null.
        assert {name for name, value in annotation.items() if value is None} <= {"geometry"}
        rows.append(dict.fromkeys(COLUMNS) | media | annotation)
    return rows


class TestWebDataset(FormatCases):
    format = WebDataset()

    def check(self, tree):
        check_rows([row for document in documents(tree).values() for row in rows_of(document)])

    def written_annotations(self, tree):
        return {
            document["image_id"]: len(document["annotations"])
            for document in documents(tree).values()
            if document["annotations"]
        }

    def usable(self):
        return [sample for sample in self.samples() if sample.sample.has_image]

    def test_writes_the_golden_files(self):
        assert self.tree() == golden("webdataset")

    def test_every_usable_image_is_there_with_its_annotations(self):
        tree = self.tree()
        found = {}
        for path, data in tree.items():
            for key, parts in tar_samples(data).items():
                (image,) = [content for suffix, content in parts.items() if suffix != "json"]
                found[int(key)] = (path.split("/")[1].split("-")[0], image)
        assert found == {sample.image_id: (sample.split, original_of(sample)) for sample in self.usable()}
        rows = [row for document in documents(tree).values() for row in rows_of(document)]
        check_against_source(rows, self.usable())

    def test_the_standard_library_reads_the_same(self):
        for data in self.tree().values():
            with tarfile.open(fileobj=io.BytesIO(data), errorlevel=2) as archive:
                found = {member.name: archive.extractfile(member).read() for member in archive}
            assert found == {
                f"{key}.{suffix}": content
                for key, parts in tar_samples(data).items()
                for suffix, content in parts.items()
            }

    def test_only_dropped_classes_are_lost_of_an_image(self):
        catalog = self.catalog()
        found = {
            (loss.annotation_id, loss.reason)
            for _, of_sample in find_losses(self.format, self.usable(), catalog)
            for loss in of_sample
        }
        assert found == {("d1", "CLASS_DROPPED"), ("d2", "CLASS_DROPPED")}

    def test_it_needs_the_images(self):
        assert self.format.needs_originals


class TestSmallFiles(FormatCases):
    format = WebDataset(images_per_tar=2)

    def test_files_hold_so_many_images_of_their_split(self):
        tree = self.tree()
        expected = {path: [] for path in tree}
        for sample in self.samples():
            if sample.sample.has_image:
                path = f"webdataset/{sample.split}-{sample.position // 2:06d}.tar"
                expected[path].append(sample.image_id)
        assert {path: [int(key) for key in tar_samples(data)] for path, data in tree.items()} == expected
        assert max(map(len, expected.values())) == 2


@settings(deadline=None)
@given(ANNOTATIONS, st.integers(30, 3000))
def test_any_annotation_comes_back_as_it_was(annotations, size):
    sample, catalog = sample_with(*annotations)
    sample = msgspec.structs.replace(sample, original=Original(size, "0" * 64))
    (document,) = documents(join_samples(WebDataset(), [sample], catalog)).values()
    rows = rows_of(document)
    assert len(rows) == len(annotations)
    for number, (row, annotation) in enumerate(zip(rows, annotations, strict=True), start=sample.annotation_id):
        check_row(row, sample, annotation, number)


@given(TEXT)
def test_any_name_has_a_suffix_that_no_reader_takes_for_anything_but_an_image(name):
    assert choose_suffix(name) in IMAGES
    assert choose_suffix(f"{name}.PNG") == "png"


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.jpg", "jpg"), ("a.JPEG", "jpg"), ("a.jfif", "jpg"), ("v1.2.webp", "webp"), ("a.TIFF", "tiff")]
    + [(name, "bin") for name in ("png", "a", "a.json", "a.pyd", "a.cls", "a.jpg.gz", "a.사진", "a.jpg\n")],
)
def test_suffixes_are_those_readers_know(name, suffix):
    assert choose_suffix(name) == suffix


def test_an_image_too_large_for_a_header_is_an_error_and_no_broken_file():
    sample, catalog = sample_with()
    with pytest.raises(ValueError, match="overflow"):
        WebDataset().render(msgspec.structs.replace(sample, original=Original(8**11, "")), catalog)
    largest = msgspec.structs.replace(sample, original=Original(8**11 - 1, ""))
    assert len([result for result in WebDataset().render(largest, catalog) if isinstance(result, Entry)]) == 3


def test_an_image_that_was_not_copied_is_left_out():
    sample, catalog = sample_with()
    found = list(WebDataset().render(msgspec.structs.replace(sample, original=None), catalog))
    assert found == [Loss("", "skipped", "SOURCE_IMAGE_INVALID")]


def test_names_of_other_scripts_are_in_the_document_only():
    sample, catalog = sample_with()
    named = msgspec.structs.replace(sample, stem="도로 사진", file_name="도로 사진.v2.jpg")
    (data,) = join_samples(WebDataset(), [named], catalog).values()
    ((key, parts),) = tar_samples(data).items()
    assert key == "000000002"
    assert json.loads(parts["json"])["file_name"] == "images/train/도로 사진.v2.jpg"


@pytest.mark.parametrize("number", [0, 2.0, "many", True])
def test_a_wrong_number_of_images_is_refused(number):
    with pytest.raises(ConfigError, match="whole number from 1"):
        load_format("webdataset", {"images_per_tar": number})
