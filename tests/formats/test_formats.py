"""All formats together, and the conformance suite itself, which must find a format that breaks its contract."""

import pickle
import re
import unicodedata
from dataclasses import dataclass

import msgspec
import pytest

from pipeline import formats
from pipeline.formats import FORMATS, Contents, Entry, Loss, Manifest, Section, load_format
from pipeline.formats.testing import FormatCases, catalog_of, join_samples, join_shards, samples
from pipeline.records import Point


def test_paths_of_all_formats_are_disjoint_also_on_case_blind_disks():
    owner = {}
    for name in FORMATS:
        for path in join_samples(load_format(name), samples(), catalog_of(samples())):
            folded = unicodedata.normalize("NFC", path).casefold()
            assert folded not in owner, f"{name} and {owner[folded]} both write {path}"
            owner[folded] = name
    assert set(owner.values()) == set(FORMATS)


def test_no_file_of_one_format_is_a_folder_of_another():
    paths = {path for name in FORMATS for path in join_samples(load_format(name), samples(), catalog_of(samples()))}
    assert not {path for path in paths if any(other.startswith(f"{path}/") for other in paths)}


def test_the_public_names_are_these():
    assert formats.__all__ == [
        "FORMATS", "KEPT", "BaseFormat", "Catalog", "Contents", "Entry", "Format", "FormatInfo", "Kind", "Loss",
        "Manifest", "OptionError", "Section", "Support", "list_formats", "load_format", "load_formats",
    ]  # fmt: skip
    assert all(hasattr(formats, name) for name in formats.__all__)
    assert all(hasattr(formats.testing, name) for name in formats.testing.__all__)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_called_what_the_configuration_calls_it(name):
    assert load_format(name).name == name


@dataclass(frozen=True)
class Broken:
    """A format that does one thing wrong."""

    fault: str = ""
    name = "broken"
    needs_payload = False

    def manifests(self, catalog):
        yield Manifest("items.txt", (Section("items", separator=b"\n"),))
        if self.fault == "manifest declared twice":
            yield Manifest("items.txt", (Section("items"),))

    def render(self, sample, catalog):
        number = sample.image_id
        annotations = sample.sample.annotations
        yield Entry("items.txt", b"%d" % number, "rows" if self.fault == "undeclared section" else "items")
        yield Entry("same.txt" if self.fault == "path written twice" else f"texts/{number}.txt", b"")
        if self.fault == "manifest is also a file":
            yield Entry("items.txt", b"")
        if self.fault == "text instead of bytes":
            yield Entry(f"text/{number}.txt", "text")
        if self.fault == "unsafe path":
            yield Entry(f"../{number}.txt", b"")
        if self.fault == "path in a reserved folder":
            yield Entry(f"metadata/{number}.txt", b"")
        if self.fault == "paths differ only in case":
            yield from (Entry(f"{name}/{number}.txt", b"") for name in ("a", "A"))
        if self.fault == "depends on the process":
            yield Entry(f"seed/{number}.txt", b"%d" % hash("seed"))
        if self.fault == "not a number":
            yield Entry(f"numbers/{number}.txt", b"0 nan 0.5\n")
        if self.fault == "loss of a stranger":
            yield Loss("stranger", "skipped", "UNSUPPORTED_ANNOTATION_TYPE")
        if self.fault == "forgets annotations":
            annotations = annotations[1:]
        if self.fault == "leaves out the sample only":
            yield Loss("", "skipped", "UNSUPPORTED_MEDIA")
        for annotation in annotations:
            yield Loss(annotation.id, "skipped", "UNSUPPORTED_ANNOTATION_TYPE")
            if self.fault == "skipped and lossy":
                yield Loss(annotation.id, "lossy", "CLIPPED_TO_IMAGE")
            if self.fault == "changes its input":
                annotation.attributes["seen"] = True


class BrokenCases(FormatCases):
    def __init__(self, fault):
        self.format = Broken(fault)

    def written_annotations(self, tree):
        return {}


FAULTS = {
    "manifest declared twice": "test_files_are_loadable",
    "undeclared section": "test_files_are_loadable",
    "path written twice": "test_files_are_loadable",
    "manifest is also a file": "test_files_are_loadable",
    "text instead of bytes": "test_files_are_loadable",
    "not a number": "test_files_are_loadable",
    "unsafe path": "test_paths_are_relative_and_safe_on_every_disk",
    "path in a reserved folder": "test_paths_are_not_in_folders_of_the_export_itself",
    "paths differ only in case": "test_paths_differ_on_case_blind_disks",
    "depends on the process": "test_gives_the_same_bytes_in_another_process",
    "loss of a stranger": "test_losses_are_of_annotations_the_sample_has",
    "forgets annotations": "test_every_annotation_is_written_or_skipped",
    "leaves out the sample only": "test_a_sample_that_is_left_out_leaves_out_its_annotations",
    "skipped and lossy": "test_no_annotation_is_lost_twice",
    "changes its input": "test_leaves_its_input_alone",
}


@pytest.mark.parametrize(("fault", "case"), FAULTS.items(), ids=FAULTS)
def test_the_cases_find_a_format_that_breaks_its_contract(fault, case, monkeypatch):
    # Pickle finds the class by the name of its module, also in another process.
    monkeypatch.setattr(Broken, "__module__", "tests.formats.test_formats")
    getattr(BrokenCases(""), case)()
    with pytest.raises(AssertionError):
        getattr(BrokenCases(fault), case)()


def test_joining_shards_puts_separators_between_them_and_nothing_else():
    first, *rest = samples()
    tree = join_shards(Broken(), [[], [first], [], rest], catalog_of(samples()))
    assert tree["items.txt"] == b"\n".join(b"%d" % sample.image_id for sample in samples())


@pytest.mark.parametrize("name", FORMATS)
def test_formats_survive_pickling_and_can_be_keys(name):
    format_ = load_format(name)
    assert pickle.loads(pickle.dumps(format_)) == format_
    assert {format_: 1}[load_format(name)]


def contents_of(format_, numbered, catalog):
    """What an export of the samples holds."""
    entries = [entry for sample in numbered for entry in format_.render(sample, catalog) if isinstance(entry, Entry)]
    return Contents(catalog, frozenset((entry.path, entry.section) for entry in entries if entry.section))


def hint(name, options=None, split="val", numbered=None):
    format_ = load_format(name, options or {})
    found, catalog = samples() if numbered is None else numbered, catalog_of(samples())
    return format_.how_to_read("some/where", split, contents_of(format_, found, catalog))


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_tells_how_to_read_it_and_where(name):
    catalog = catalog_of(samples())
    line = hint(name)
    (path,) = re.findall(r"some/where([^' ,]*)", line)[:1]
    paths = [*join_samples(load_format(name), samples(), catalog), *(sample.original_path for sample in samples())]
    pattern = re.escape(path.strip("/")).replace(r"\*", "[^/]*")
    assert any(re.match(pattern, other) for other in paths), line


def test_how_to_read_follows_the_options():
    assert "instances_val_00000.json" in hint("coco", {"shard_images": 5})
    assert "year='2007'" in hint("voc", {"year": 2007})
    pose = {"task": "pose", "folder": "people"}
    assert hint("yolo", pose) == "Ultralytics: yolo pose train data=some/where/people/data.yaml"


@pytest.mark.parametrize("name", ["coco", "imagefolder", "webdataset", "voc", "csv", "parquet"])
def test_a_format_that_holds_nothing_tells_nothing(name):
    assert hint(name, numbered=[]) == ""


@pytest.mark.parametrize(("name", "options"), [("coco", {}), ("webdataset", {"images_per_tar": 1}), ("voc", {})])
def test_a_split_and_a_file_without_samples_are_not_named(name, options):
    others = [sample for sample in samples() if sample.split == "test" and sample.sample.has_image]
    assert others
    assert re.search(r"\btest\b|_test\.json|test-", hint(name, options, numbered=others)), hint(name, options)
    (kept, *_) = [sample for sample in samples() if sample.split == "train" and sample.position == 1]
    line = hint(name, options, split="val", numbered=[kept])
    assert "train" in line
    if name == "webdataset":
        assert "train-000001.tar" in line


@pytest.mark.parametrize(("split", "name"), [("validation", "val"), ("training", "train")])
def test_voc_names_the_list_and_not_the_split(split, name):
    voc = load_format("voc")
    catalog = msgspec.structs.replace(catalog_of(samples()), splits={split: 1})
    contents = Contents(catalog, frozenset({(f"VOCdevkit/VOC2012/ImageSets/Main/{name}.txt", split)}))
    assert voc.how_to_read("x", split, contents) == f"torchvision: VOCDetection('x', image_set='{name}')"


def test_keypoints_are_named_where_nothing_else_is():
    points = [sample for sample in samples() if sample.sample.has_image]
    shapes = {
        sample.image_id: [a for a in sample.sample.annotations if isinstance(a.shape, Point)] for sample in points
    }
    points = [
        msgspec.structs.replace(
            sample, sample=msgspec.structs.replace(sample.sample, annotations=tuple(shapes[sample.image_id]))
        )
        for sample in points
    ]
    assert re.search(r"/annotations/\w+_keypoints_\w+\.json", hint("coco", numbered=points))
