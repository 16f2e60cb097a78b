"""Build the samples of a record: join its parsed document with its files."""

from collections.abc import Sequence

import msgspec

from pipeline.images.files import Header
from pipeline.images.masks import MaskError, check_runs
from pipeline.model.naming import has_image_suffix
from pipeline.reasons import Reason
from pipeline.records import Annotation, Failure, File, Mask, Sample
from pipeline.synapse.documents.parsing import Document
from pipeline.synapse.documents.shapes import media_kind, natural_key
from pipeline.synapse.documents.tolerant import Media


def build_samples(record_id: int, document: Document, files: Sequence[File]) -> tuple[list[Sample], list[Failure]]:
    """Return the samples of a record, one per media, and the failures of everything that could not be read.

    Media find their file by its spec; the single file of an assignment (spec ``""``) belongs to the first media.
    Image files that a DM document does not mention become samples without annotations (negatives). The sample of the
    primary file has ordinal 0, the others follow in natural order of their media keys. A size is the document's, else
    the file's, else None (:func:`with_header` adds it later). A document that is ``null`` or malformed has no samples;
    an ``opaque`` one has a single sample of kind ``document`` with the primary file.
    """
    failures = [msgspec.structs.replace(failure, record_id=record_id) for failure in document.failures]
    if document.kind == "null" or (document.kind == "opaque" and failures):
        return [], failures
    if document.kind == "opaque":
        file = _primary(files)
        sample = Sample(record_id, 0, file.spec if file else "", "document", None, None, file, ())
        return [sample], [Failure(record_id, Reason.UNSUPPORTED_DOCUMENT, "not a DM document", outcome="skipped")]
    pairs = _with_files(document, files)
    samples: list[Sample] = []
    for ordinal, (media, file) in enumerate(pairs):
        failures += [msgspec.structs.replace(f, record_id=record_id, media=media.key) for f in media.failures]
        kind = media.kind or (_kind(file) if file else "unknown")
        width, height = media.width, media.height
        if kind != "image":
            width = height = None
        elif file and not (width and height):
            width, height = file.width, file.height
        annotations = media.annotations
        if width and height:
            annotations, outside = _inside(record_id, media.key, annotations, width, height)
            failures += outside
        samples.append(Sample(record_id, ordinal, media.key, kind, width, height, file, annotations))
    return samples, failures


def with_header(sample: Sample, header: Header) -> tuple[Sample, list[Failure]]:
    """Return the sample with what the header of its original tells, and a failure for each mask that does not fit.

    A size that is not known is the upright one, because that is what the annotator saw; masks that do not fit into it
    are left out. A file whose name readers do not take for an image's is given a suffix.
    """
    failures: list[Failure] = []
    if sample.file and not has_image_suffix(sample.file.name):
        sample = msgspec.structs.replace(sample, file=msgspec.structs.replace(sample.file, suffix=header.suffix))
    if not (sample.width and sample.height):
        width, height = header.upright_size
        annotations, failures = _inside(sample.record_id, sample.media, sample.annotations, width, height)
        sample = msgspec.structs.replace(sample, width=width, height=height, annotations=annotations)
    return sample, failures


def _inside(
    record_id: int, media: str, annotations: tuple[Annotation, ...], width: int, height: int
) -> tuple[tuple[Annotation, ...], list[Failure]]:
    failures: list[Failure] = []
    for annotation in annotations:
        if isinstance(annotation.shape, Mask):
            try:
                check_runs(annotation.shape.runs, width, height)
            except MaskError as error:
                reason = Reason.INVALID_MASK_ENCODING
                failures.append(Failure(record_id, reason, str(error), media, annotation.id, of="annotation"))
    if failures:
        outside = {failure.annotation_id for failure in failures}
        annotations = tuple(annotation for annotation in annotations if annotation.id not in outside)
    return annotations, failures


def _with_files(document: Document, files: Sequence[File]) -> list[tuple[Media, File | None]]:
    """Return each media with its file, then image files without media, in the order of ordinals."""
    media = list(document.media)
    if document.kind == "v2":
        media = _renamed_by_rank(media, files)
    waiting = {file.spec: file for file in files}
    alone = waiting.pop("", None)
    pairs: list[tuple[Media, File | None]] = []
    for item in media:
        file = waiting.pop(item.key, None) or waiting.pop(_other_spelling(item.key), None)
        if file is None and not pairs:
            file, alone = alone, None
        pairs.append((item, file))
    negatives = [file for file in (*waiting.values(), *([alone] if alone else ())) if _kind(file) == "image"]
    pairs += [(Media(file.spec or "image_1", "image", None, None, ()), file) for file in negatives]
    if not pairs:
        # A document without media still becomes a sample, for formats that keep documents.
        file = _primary(files)
        kind = _kind(file) if file else "document"
        pairs.append((Media((file.spec if file else "") or f"{kind}_1", kind, None, None, ()), file))
    if len(pairs) > 1:
        pairs.sort(key=lambda pair: (not (pair[1] and pair[1].primary), natural_key(pair[0].key)))
    return pairs


def _renamed_by_rank(media: list[Media], files: Sequence[File]) -> list[Media]:
    """Match DM v2 media, which have positions instead of keys, with as many files of their kind."""
    renamed: list[Media] = []
    for kind in dict.fromkeys(item.kind for item in media):
        items = [item for item in media if item.kind == kind]
        specs = sorted((file.spec for file in files if file.spec and _kind(file) == kind), key=natural_key)
        if len(specs) == len(items):
            items = [msgspec.structs.replace(item, key=spec) for item, spec in zip(items, specs, strict=True)]
        renamed += items
    return renamed


def _other_spelling(key: str) -> str:
    """Return the other spelling of a key: ``image`` also means ``image_1``."""
    kind = media_kind(key)
    return {kind: f"{kind}_1", f"{kind}_1": kind}.get(key, key)


def _kind(file: File) -> str:
    return file.kind or media_kind(file.spec) or "image"


def _primary(files: Sequence[File]) -> File | None:
    by_rank = sorted(files, key=lambda file: (not file.primary, _kind(file) == "data", natural_key(file.spec)))
    return by_rank[0] if by_rank else None
