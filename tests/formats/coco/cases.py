"""The conformance suite of COCO, and what its tests share."""

import json
from collections import Counter

import msgspec
from pycocotools.coco import COCO

from pipeline.formats import Loss
from pipeline.formats.coco.format import Coco
from pipeline.formats.testing import FormatCases, catalog_of, find_losses, samples
from pipeline.records import Point
from tests.formats.coco.grammar import NAME, annotations_of, check_tree


def kind_of(path):
    """``instances``, ``stuff`` or ``<skeleton>_keypoints``; None of a file that is not COCO's."""
    match = NAME.fullmatch(path)
    return match["kind"] if match else None


def annotations_in(tree, *kinds):
    """The annotations of a tree's files (of these kinds, or all), with what kind of file each is in."""
    for path, data in tree.items():
        kind = kind_of(path)
        if kind and (not kinds or kind in kinds):
            yield from ((kind, annotation) for annotation in json.loads(data)["annotations"])


class CocoCases(FormatCases):
    def check(self, tree):
        super().check(tree)
        check_tree(tree)

    def sources(self):
        """Where each id that an annotation can have belongs: its image, and the annotations it stands for."""
        sources = {}
        for sample in self.samples():
            first = {}
            for number, annotation in enumerate(sample.sample.annotations, start=sample.annotation_id):
                if isinstance(annotation.shape, Point) and annotation.group:
                    number = first.setdefault(annotation.group, number)  # noqa: PLW2901  # the object's, from here on
                sources.setdefault(number, (sample.image_id, []))[1].append(annotation.id)
        return sources

    def written_annotations(self, tree):
        count = Counter()
        for _, annotation in annotations_in(tree):
            image_id, identities = self.sources()[annotation["id"]]
            assert annotation["image_id"] == image_id
            count[image_id] += len(identities)
        return count

    def test_written_annotations_have_the_ids_the_catalog_gave_them(self):
        skipped = {
            (sample.image_id, loss.annotation_id)
            for sample, found in find_losses(self.format, self.samples(), self.catalog())
            for loss in found
            if loss.outcome == "skipped"
        }
        expected = {
            number
            for number, (image_id, identities) in self.sources().items()
            if not {(image_id, identity) for identity in identities} & skipped
        }
        assert {annotation["id"] for _, annotation in annotations_in(self.tree())} == expected


def loaded(tree, folder, *kinds):
    """What pycocotools makes of the files of some kinds (instances unless said), one dataset per file."""
    for path, data in tree.items():
        if kind_of(path) in (kinds or ("instances",)):
            (folder / "file.json").write_bytes(data)
            yield COCO(str(folder / "file.json"))


def results_of(*annotations, format_=None, width=100, height=50, **options):
    """What is rendered of one image with these annotations."""
    sample = samples()[1]
    source = msgspec.structs.replace(sample.sample, annotations=annotations, width=width, height=height)
    sample = msgspec.structs.replace(sample, sample=source)
    return list((format_ or Coco()).render(sample, catalog_of([sample], **options)))


def losses_in(results):
    return [(loss.annotation_id, loss.outcome, loss.reason) for loss in results if isinstance(loss, Loss)]


def rendered(*annotations, **options):
    """The instances and the losses of one image with these annotations."""
    results = results_of(*annotations, **options)
    return annotations_of(results), losses_in(results)
