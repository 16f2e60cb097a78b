"""Synapse JSON: each record's document exactly as the platform holds it, with nothing lost and nothing filtered."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from pipeline.formats import BaseFormat, Contents, Entry, Loss, Manifest
from pipeline.formats.support import KEPT, Kind, Support
from pipeline.model.catalog import Catalog
from pipeline.records import NumberedSample


@dataclass(frozen=True)
class SynapseJson(BaseFormat):
    """``json/<stem>.json`` per record: ``{"data": <document>, "files": <file infos without URLs>, "id": <record>}``.

    It holds every annotation of every media of the record, those of dropped classes too, so it never reports a loss.
    The file is named after the record's first sample; the other samples add no file.
    """

    name: ClassVar[str] = "synapse_json"
    needs_payload: ClassVar[bool] = True

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:  # noqa: ARG002  # the protocol's signature
        """Return none: each record has a file of its own."""
        return ()

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:  # noqa: ARG002  # as above
        """Return the record's file; the document is put in as bytes and never decoded."""
        if sample.sample.ordinal:
            return ()
        record = sample.record
        document = b'{"data":%b,"files":%b,"id":%d}\n' % (record.payload or b"null", record.files or b"{}", record.id)
        return (Entry(f"json/{sample.stem}.json", document),)

    def support(self) -> Mapping[Kind, Support]:
        """Return that everything is kept."""
        return dict.fromkeys(Kind, KEPT)

    def how_to_read(self, url: str, split: str, contents: Contents) -> str:  # noqa: ARG002  # all are in one folder
        """Return where the documents are."""
        return f"one document per record in {url}/json/"
