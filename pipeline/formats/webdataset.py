"""WebDataset: tar files that a trainer reads from end to end, each image followed by its annotations.

See ``docs/formats/webdataset.md`` for the members. Tar files can be joined, so an image is never held in memory: its
header, its bytes (the pipeline puts them there) and its padding are items of the same section.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from pipeline.formats import BaseFormat, Contents, Entry, Loss, Manifest, Section
from pipeline.formats.annotation_rows import describe_media, make_rows, table_support
from pipeline.formats.images import count_files, image_size, skip_sample, without_image
from pipeline.formats.support import Kind, Support
from pipeline.formats.tar import ARCHIVE_END, make_padding, make_plain_header
from pipeline.model.catalog import Catalog
from pipeline.reasons import Reason
from pipeline.records import NumberedSample

_MEMBERS = "members"
_SUFFIX = re.compile(r"\.(?:(jpe?g|jpe|jfif)|(avif|bmp|gif|hei[cf]|jp2|p[bgnp]m|png|tiff?|webp))\Z", re.IGNORECASE)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class WebDataset(BaseFormat):
    """``webdataset/<split>-<number>.tar``, each of ``images_per_tar`` images with their annotations."""

    images_per_tar: Annotated[int, Meta(ge=1)] = 1000

    name: ClassVar[str] = "webdataset"
    needs_originals: ClassVar[bool] = True

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """Return the tar files of every split."""
        for split, images in catalog.splits.items():
            for number in range(count_files(images, self.images_per_tar)):
                yield Manifest(_path(split, number), (Section(_MEMBERS, close=ARCHIVE_END),))

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """Return two members: the image, ``<key>.<suffix>``, and ``<key>.json``. The key is the image id."""
        source = sample.sample
        if sample.is_original_missing and source.has_image:  # a reader that asks for image and annotations stops there
            return skip_sample(source, Reason.ORIGINAL_MISSING)
        if image_size(source) is None or sample.original is None:
            return without_image(source)
        rows, losses = make_rows(sample, catalog)
        document = b'%b,"annotations":%b}' % (_encode(describe_media(sample))[:-1], _encode(rows))
        path = _path(sample.split, sample.position // self.images_per_tar)
        # The original name may hold dots, and readers end the key at the first one: "v1.2_a.jpg" and "v1.3_b.jpg" would
        # be one sample. It may also be too long for a tar header, or not ASCII.
        key = f"{sample.image_id:09d}"
        size = sample.original.size
        annotations = make_plain_header(f"{key}.json", len(document)) + document + make_padding(len(document))
        return [
            Entry(path, make_plain_header(f"{key}.{choose_suffix(sample.file_name)}", size), _MEMBERS),
            Entry(path, section=_MEMBERS, original=True),
            Entry(path, make_padding(size) + annotations, _MEMBERS),
            *losses,
        ]

    def support(self) -> Mapping[Kind, Support]:
        """Return that everything is kept but dropped classes."""
        return table_support()

    def how_to_read(self, url: str, split: str, contents: Contents) -> str:
        """Return how the webdataset package reads the first file with images, decoded by Pillow."""
        filled = (
            path
            for name in contents.splits_from(split)
            for number in range(count_files(contents.catalog.splits[name], self.images_per_tar))
            if contents.has(path := _path(name, number), _MEMBERS)
        )
        path = next(filled, "")
        return f"webdataset: WebDataset('{url}/{path}').decode('pil')" if path else ""


def choose_suffix(file_name: str) -> str:
    """Return the suffix of an image in a tar file; readers choose by it how to decode the member.

    All suffixes of JPEG become ``jpg``. A suffix that is not known as one of an image becomes ``bin``, which stays
    bytes: others may mean something else to a reader, such as ``json``, or ``pyd``, which is unpickled.
    """
    match = _SUFFIX.search(file_name)
    if match is None:
        return "bin"
    return "jpg" if match[1] else match[2].lower()


def _path(split: str, number: int) -> str:
    return f"webdataset/{split}-{number:06d}.tar"
