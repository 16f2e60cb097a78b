"""``packaging: tar``: the files that formats write for single samples, in archives instead of one by one.

A million label files are a million requests to an object store, and a million objects to pay for and to list. Which
archive a file is in goes by its sample's number in the export, so it does not depend on shards or workers; unpacked at
the root of the export, the archives give the files that ``packaging: files`` writes.
"""

from collections.abc import Iterator

from pipeline.formats import Manifest, Section
from pipeline.formats.tar import ARCHIVE_END
from pipeline.model.catalog import Catalog
from pipeline.records import NumberedSample

SAMPLES_PER_PACKAGE = 10_000
MEMBERS = "members"


def package_of(sample: NumberedSample) -> str:
    """Return the path of the archive that holds the files of a sample."""
    return _path((sample.image_id - 1) // SAMPLES_PER_PACKAGE)


def manifests(catalog: Catalog) -> Iterator[Manifest]:
    """Return every archive of the export; empty archives are not written."""
    for number in range(-(-catalog.samples // SAMPLES_PER_PACKAGE)):
        yield Manifest(_path(number), (Section(MEMBERS, close=ARCHIVE_END),), optional=True)


def _path(number: int) -> str:
    return f"packages/{number:06d}.tar"
