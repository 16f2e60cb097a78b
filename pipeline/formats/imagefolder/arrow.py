"""The rows of images as columns of Arrow: the transform that makes ``metadata.parquet`` of joined lines."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from pipeline.formats.parquet_files import read_lines, write_parquet


def to_image_metadata(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the ``metadata.parquet`` of joined lines of :class:`pipeline.formats.imagefolder.format.ImageFolder`.

    The schema holds the dataset's features for Hugging Face ``datasets``, so that numbers of classes have names there.
    """
    lines = read_lines(chunks)
    classes = msgspec.json.decode(next(lines))["classes"]
    whole, number, text = pa.int64(), pa.float64(), pa.string()
    objects = {
        "id": pa.list_(whole),
        "bbox": pa.list_(pa.list_(number)),
        "category": pa.list_(whole),
        "area": pa.list_(number),
        "segmentation": pa.list_(pa.list_(pa.list_(number))),
        "mask": pa.list_(text),
        "attributes": pa.list_(text),
    }
    columns = {
        "file_name": text,
        "image_id": whole,
        "record_id": whole,
        "width": whole,
        "height": whole,
        "labels": pa.list_(whole),
        "objects": pa.struct(objects.items()),
    }
    features = {name: _feature(kind, classes if name == "labels" else ()) for name, kind in columns.items()}
    features["objects"] = {
        name: _feature(kind, classes if name == "category" else ()) for name, kind in objects.items()
    }
    schema = pa.schema(columns.items(), metadata={"huggingface": json.dumps({"info": {"features": features}})})
    return write_parquet(lines, schema, lambda decoded: pa.RecordBatch.from_pylist(decoded, schema=schema))


def _feature(kind: pa.DataType, classes: Sequence[str]) -> dict[str, Any]:
    """Return the feature of a column as ``datasets`` stores it in a schema's metadata, in all versions from 2 to 5."""
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type, classes), "_type": "Sequence"}
    if classes:
        return {"names": list(classes), "_type": "ClassLabel"}
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind)), "_type": "Value"}
