"""What Hugging Face datasets (3.6 and 5.2, packaged_modules/folder_based_builder) asks of a metadata.parquet."""

import io
import json

import pyarrow.parquet as pq
import yaml
from pycocotools import mask as coco_mask

OBJECTS = ("id", "bbox", "category", "area", "segmentation", "mask", "attributes")
TOLERANCE = 1e-6
CARD = "images/README.md"


def read_metadata(data):
    """The rows of a file, its schema, and the names of its classes (None when there are no classes)."""
    table = pq.ParquetFile(io.BytesIO(data)).read()
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    # Features that do not fit the columns are refused when the first row is encoded.
    assert list(features) == table.schema.names
    assert list(features["objects"]) == list(OBJECTS)
    category = features["objects"]["category"]["feature"]
    assert features["labels"]["feature"] == category
    assert category["_type"] in ("ClassLabel", "Value")
    return table.to_pylist(), table.schema, category.get("names")


def check_imagefolder(tree):
    """Refuse a tree that ``load_dataset("imagefolder")`` would not load, or in which boxes leave their image.

    Returns the rows of all splits.
    """
    found, schemas = [], []
    tables = {path: data for path, data in tree.items() if path != CARD}
    _check_card(tree[CARD], tables)
    for path, data in tables.items():
        folder, _, leaf = path.rpartition("/")
        assert folder.startswith("images/")
        assert folder.count("/") == 1
        assert leaf == "metadata.parquet", "metadata files of several kinds are refused"
        rows, schema, classes = read_metadata(data)
        schemas.append(schema)
        for row in rows:
            _check_row(row, classes or [])
        names = [row["file_name"] for row in rows]
        assert len(set(names)) == len(names)
        found += rows
    assert all(schema.equals(schemas[0], check_metadata=True) for schema in schemas), "features of splits differ"
    return found


def _check_card(card, tables):
    """Refuse a card that does not give ``datasets`` every folder, each as a split of another name."""
    (config,) = yaml.safe_load(card.decode().split("---")[1])["configs"]
    splits = [entry["split"] for entry in config["data_files"]]
    assert len(set(splits)) == len(splits), "two splits of one name"
    listed = sorted(entry["path"] for entry in config["data_files"])
    assert listed == sorted(f"{path.split('/')[1]}/**" for path in tables)


def _check_row(row, classes):
    # Absolute paths, URLs and ways out of the folder are refused; a folder would be allowed, but there is none.
    assert row["file_name"]
    assert not {"/", "\\", ":"} & set(row["file_name"])
    assert row["width"] > 0
    assert row["height"] > 0
    objects = row["objects"]
    assert {len(objects[name]) for name in OBJECTS} == {len(objects["id"])}, "parallel lists of unequal length"
    assert all(0 <= index < len(classes) for index in (*objects["category"], *row["labels"]))
    for box, area, outlines, counts, attributes in zip(
        *(objects[name] for name in ("bbox", "area", "segmentation", "mask", "attributes")), strict=True
    ):
        x, y, width, height = box
        assert width > 0
        assert height > 0
        # albumentations refuses boxes that leave the image.
        assert x >= 0
        assert y >= 0
        assert x + width <= row["width"] + TOLERANCE
        assert y + height <= row["height"] + TOLERANCE
        assert area > 0
        assert all(len(outline) >= 6 and len(outline) % 2 == 0 for outline in outlines)
        assert not (outlines and counts)
        if counts:
            assert coco_mask.area({"size": [row["height"], row["width"]], "counts": counts}) == area
        assert attributes is None or isinstance(json.loads(attributes), dict)
