"""How tests of documents write documents."""

import json

import numpy as np

from pipeline.synapse.documents.parsing import parse_document

BOX = {"x": 215, "y": 242.5, "width": 225, "height": 189}
TRIANGLE = [{"x": 1, "y": 2, "id": "p"}, {"x": 9, "y": 2}, {"x": 5, "y": 8.5}]
PAIRS = [[1, 2], [9, 2], [5, 8.5]]


def parse(document):
    return parse_document(document if isinstance(document, bytes) else json.dumps(document).encode())


def v1(*things, media="image_1", **rest):
    """A DM v1 document of ``(annotation, entry)`` pairs; an entry of None is left out."""
    annotations = [{"id": f"a{number}", **annotation} for number, (annotation, _) in enumerate(things)]
    entries = [{"id": f"a{number}", **entry} for number, (_, entry) in enumerate(things) if entry is not None]
    return {"annotations": {media: annotations}, "annotationsData": {media: entries}, **rest}


def thing(tool, entry, **classification):
    return {"tool": tool, "classification": {"class": "car", **classification}}, entry


def v2(tool, **item):
    return {"images": [{tool: [{"id": "a0", "classification": "car", "attrs": [], **item}]}]}


def only(document):
    """The single annotation of a document in which nothing else was seen."""
    parsed = parse(document)
    assert parsed.seen == 1, parsed
    return parsed.media[0].annotations[0]


def only_failure(document):
    parsed = parse(document)
    assert parsed.seen == 1, parsed
    assert not any(media.annotations for media in parsed.media)
    return (*parsed.failures, *(failure for media in parsed.media for failure in media.failures))[0]


def runs(mask):
    return np.frombuffer(mask.runs, "<i8").reshape(-1, 2).tolist()


GOOD_BOX = thing("bounding_box", {"coordinate": BOX})
