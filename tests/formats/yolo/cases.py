"""The conformance suite of YOLO, for any task and folder, and what its tests share."""

import msgspec

from pipeline.formats import Entry, Loss
from pipeline.formats.testing import FormatCases, catalog_of, join_samples, samples
from pipeline.formats.yolo.format import Yolo
from pipeline.model.catalog import ShardSummary, build_catalog
from tests.formats.yolo.grammar import check_data_yaml, check_labels, check_ndjson, check_yolo_tree, label_path

CATALOG = build_catalog(ShardSummary(1, 1, {"car": 1}, {"train": 1}), name="one class")


def sample_with(*annotations, width=100, height=50):
    """A sample of the training split, ``empty.png``, with these annotations."""
    sample = samples()[1]
    source = msgspec.structs.replace(sample.sample, annotations=annotations, width=width, height=height)
    return msgspec.structs.replace(sample, sample=source)


def rows_and_losses(*annotations, catalog=CATALOG, points=0, options=None, **size):
    """The rows of one image, each as ``(class, number, …)``, and the losses; of task detect unless options say."""
    format_ = Yolo(**(options or {}))
    results = list(format_.render(sample_with(*annotations, **size), catalog))
    (entry,) = [result for result in results if isinstance(result, Entry)]
    found = [(loss.annotation_id, loss.outcome, str(loss.reason)) for loss in results if isinstance(loss, Loss)]
    classes = len(catalog.skeletons[:1] if format_.task == "pose" else catalog.classes)
    return check_labels(entry.data.decode(), classes, format_.task, points), found


class YoloCases(FormatCases):
    """Set ``format``; ``rows_of`` where a row is not one annotation."""

    def root(self):
        return f"{self.format.folder}/" if self.format.folder else ""

    def check(self, tree):
        super().check(tree)
        root, task = self.root(), self.format.task
        classes = tree[f"{root}classes.txt"].decode().splitlines()
        data, names = check_data_yaml(tree[f"{root}data.yaml"].decode(), classes, task)
        points = data["kpt_shape"][0] if task == "pose" else 0
        for path, text in tree.items():
            if path.startswith(f"{root}labels/"):
                check_labels(text.decode(), len(names), task, points)
            elif path == f"{root}dataset.ndjson":
                check_ndjson(text.decode(), task)

    def annotations_in(self, sample, rows):
        """How many annotations the rows of a sample stand for."""
        return len(rows)

    def written_annotations(self, tree):
        found = {f"{self.root()}labels/{sample.split}/{sample.stem}.txt": sample for sample in self.samples()}
        return {
            sample.image_id: self.annotations_in(sample, tree[path].decode().splitlines())
            for path, sample in found.items()
            if path in tree
        }

    def usable(self):
        return [sample for sample in self.samples() if sample.sample.has_image]

    def test_an_exported_tree_with_its_images_passes_the_grammar(self, tmp_path):
        tree = self.tree() | {sample.original_path: b"" for sample in self.usable()}
        for path, data in tree.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(data)
        labels = check_yolo_tree(tmp_path / self.format.folder, task=self.format.task)
        assert len(labels) == len(self.usable())
        assert labels["labels/train/empty.txt"] == []

    def test_the_label_file_is_where_ultralytics_looks_for_it(self):
        tree, before = self.tree(), f"/data/images/{self.root()}"
        assert self.usable()
        for sample in self.usable():
            label = label_path(f"{before}images/{sample.split}/{sample.file_name}").as_posix()
            assert self.root() + label.removeprefix(before) in tree

    def test_a_tree_in_a_folder_has_the_images(self):
        folder = f"{self.root()}images/"
        wanted = [f"{folder}{sample.split}/{sample.file_name}" for sample in self.usable()] if self.root() else []
        assert sorted(path for path in self.tree() if path.startswith(folder)) == sorted(wanted)

    def test_without_copies_of_originals_no_image_is_asked_for(self):
        without = [msgspec.structs.replace(sample, original=None) for sample in self.samples()]
        assert set(join_samples(self.format, without, catalog_of(without))) == {
            path for path in self.tree() if not path.startswith(f"{self.root()}images/")
        }
