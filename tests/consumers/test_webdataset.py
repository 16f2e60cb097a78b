"""The tar files, read by WebDataset, several of a split in one go."""

import pytest


@pytest.fixture
def by_webdataset(ask):
    """All samples of an export by key, and the keys of those that cannot be decoded."""

    def seen(export):
        splits = list(export.splits())
        last = [len(list((export.path / "webdataset").glob(f"{split}-*.tar"))) - 1 for split in splits]
        patterns = [
            f"{export.path}/webdataset/{split}-{{000000..{number:06d}}}.tar"
            for split, number in zip(splits, last, strict=True)
        ]
        samples, unreadable = {}, []
        for split, found in zip(splits, ask("webdataset", *patterns), strict=True):
            assert all(sample["document"]["split"] == split for sample in found["samples"].values())
            assert not samples.keys() & found["samples"].keys()
            samples.update(found["samples"])
            unreadable += found["unreadable"]
        return samples, unreadable

    return seen


def test_every_image_is_a_sample_with_a_picture_and_a_document(exported, by_webdataset):
    samples, unreadable = by_webdataset(exported)
    assert len(samples) + len(unreadable) == len(exported.images())
    assert len(unreadable) == len(exported.names("truncated_image"))
    for sample in samples.values():
        assert len(sample["parts"]) == 2
        assert "json" in sample["parts"]


def test_pictures_have_the_size_the_document_says(exported, by_webdataset):
    for sample in by_webdataset(exported)[0].values():
        document = sample["document"]
        # A picture whose name does not end like one has the ending .bin: WebDataset leaves it as bytes.
        expected = None if "bin" in sample["parts"] else [document["image_width"], document["image_height"]]
        assert sample["size"] == expected


@pytest.mark.xdist_group("tidy")
def test_every_annotation_arrives(tidy_export, by_webdataset):
    samples, _ = by_webdataset(tidy_export)
    found = sum(len(sample["document"]["annotations"]) for sample in samples.values())
    assert found == tidy_export.summary["formats"]["webdataset"]["annotations"]["written"]


@pytest.mark.xdist_group("tidy")
def test_the_boxes_are_those_that_were_drawn(tidy_export, by_webdataset):
    drawn = tidy_export.boxes()
    for sample in by_webdataset(tidy_export)[0].values():
        annotations = [a for a in sample["document"]["annotations"] if a["tool"] == "bounding_box"]
        boxes = sorted((a["class"], a["x"], a["y"], a["width"], a["height"]) for a in annotations)
        assert boxes == drawn[sample["document"]["file_name"].rpartition("/")[2]]
