"""Tar files as WebDataset reads them: ``check_webdataset.py <pattern> ...``.

Prints, for each pattern, its samples by key: their parts, their document, and the size of their picture (None for bytes
WebDataset knows no picture in); and the keys of the samples that cannot be decoded.
"""

import json
import sys

from webdataset import WebDataset, ignore_and_continue


def parts(sample):
    """The members of a sample, by ending."""
    return {name: value for name, value in sample.items() if not name.startswith("__")}


def seen(pattern):
    """The samples of a series of files."""
    members = {sample["__key__"]: list(parts(sample)) for sample in WebDataset(pattern, shardshuffle=False)}
    samples = {}
    for sample in WebDataset(pattern, shardshuffle=False).decode("pil", handler=ignore_and_continue):
        (picture,) = (value for name, value in parts(sample).items() if name != "json")
        samples[sample["__key__"]] = {
            "parts": members[sample["__key__"]],
            "document": sample["json"],
            "size": None if isinstance(picture, bytes) else picture.size,
        }
    return {"samples": samples, "unreadable": [key for key in members if key not in samples]}


json.dump([seen(pattern) for pattern in sys.argv[1:]], sys.stdout)
