"""``empty: drop``: leave out images without annotations, and report each of them."""

import msgspec

from pipeline.model.labels import ClassNames
from pipeline.model.source import ExtractedRecord
from pipeline.reasons import Reason
from pipeline.records import Annotation, Failure, Sample


def drop_empty_images(record: ExtractedRecord, names: ClassNames) -> ExtractedRecord:
    """The record without the images that have no annotation of a class that the user keeps.

    The remaining samples are numbered from 0 again. An image that is left out is reported as skipped, and so is each
    annotation on it. Only images can be empty.
    """
    kept = [sample for sample in record.samples if not _is_empty(sample, names)]
    if len(kept) == len(record.samples):
        return record
    images, annotations = [], []
    for sample in record.samples:
        if _is_empty(sample, names):
            problem = "labelled, and nothing is there"
            images.append(
                Failure(sample.record_id, Reason.EMPTY_IMAGE, problem, sample.media, outcome="skipped", of="media")
            )
            annotations += [_skipped(sample, annotation) for annotation in sample.annotations]
    samples = [msgspec.structs.replace(sample, ordinal=ordinal) for ordinal, sample in enumerate(kept)]
    # The images come first: a record without any samples left is counted under the first reason.
    failures = (*images, *record.failures, *annotations)
    return msgspec.structs.replace(record, samples=tuple(samples), failures=failures)


def _is_empty(sample: Sample, names: ClassNames) -> bool:
    return sample.kind == "image" and not any(
        annotation.label and names.final(annotation.label) for annotation in sample.annotations
    )


def _skipped(sample: Sample, annotation: Annotation) -> Failure:
    reason = Reason.CLASS_DROPPED if annotation.label else Reason.EMPTY_IMAGE
    return Failure(sample.record_id, reason, "", sample.media, annotation.id, outcome="skipped", of="annotation")
