"""Publish: the books must balance; then the summary, the digests and, last of all, ``_SUCCESS.json``."""

import hashlib
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import msgspec

from pipeline.config.export import ExportConfig
from pipeline.destination import metadata
from pipeline.destination.existing import Success
from pipeline.errors import LedgerError
from pipeline.executors.ray_job import submitted_job
from pipeline.formats import BaseFormat, Contents, Manifest, Section
from pipeline.formats.encoding import csv_line
from pipeline.model.catalog import Catalog
from pipeline.model.ledger import FormatCount, Ledger, merge_ledgers
from pipeline.model.splits import UNASSIGNED
from pipeline.progress import Reporter
from pipeline.reasons import Reason
from pipeline.report.card import make_card
from pipeline.report.page import make_page
from pipeline.stages.duplicates.listing import Duplicates
from pipeline.stages.merge import gather_parts, join_manifest
from pipeline.stages.patch import remove_unlisted
from pipeline.stages.workspace import Workspace
from pipeline.staging.markers import ManifestMarker, Plan, RenderMarker, StagedCatalog
from pipeline.storage import STAGING
from pipeline.version import __version__


def publish(
    workspace: Workspace,
    plan: Plan,
    staged: StagedCatalog,
    markers: Sequence[RenderMarker],
    manifests: Sequence[ManifestMarker],
    reporter: Reporter,
    run_id: str,
    duplicates: Duplicates,
) -> Success:
    """Publish the export and return its verdict. ``duplicates`` are in their file already."""
    ledger = merge_ledgers(marker.ledger for marker in markers)
    ledger.check()
    if ledger.records.seen != plan.records:
        raise LedgerError("records", f"{plan.records} were planned, {ledger.records.seen} are in the books")
    storage, staging = workspace.storage, workspace.staging
    reporter.begin("publish", 1, unit="exports")
    memory = reader_memory(workspace.formats, staged.catalog, manifests)
    hints = reading_hints(workspace, staged.catalog, markers, ledger)
    unheld = unheld_warnings(workspace.formats, ledger)
    summary = make_summary(
        workspace.config, plan, staged, ledger, memory, hints, unheld, reporter.seconds, run_id,
        duplicates,
    )  # fmt: skip
    storage.write(metadata.SUMMARY, summary)
    report = workspace.config.report
    paths = [marker.path for marker in manifests]

    rows = b"".join(metadata.file_line(marker.path, marker.size, marker.sha256) for marker in manifests)
    sums = b"".join(metadata.checksum_line(marker.path, marker.sha256) for marker in manifests)
    shown = 0
    if report and metadata.CARD not in paths:  # a format may have a card of its own
        own_hints = reading_hints(workspace, staged.catalog, markers, ledger, folder=".")
        card = make_card(workspace.config, plan.project_title, staged.catalog, ledger, own_hints, paths)
        storage.write(metadata.CARD, card)
        rows += metadata.file_line(metadata.CARD, len(card), metadata.digest(card))
        sums += metadata.checksum_line(metadata.CARD, metadata.digest(card))
        shown += 1
    header = csv_line(metadata.FILE_COLUMNS)
    file_list = gather_parts(Manifest(metadata.FILES, (Section(metadata.ITEMS, open=header),)), markers, staging)
    _, list_sha256 = join_manifest(staging, file_list, rows)
    sums += metadata.checksum_line(metadata.FILES, list_sha256)
    checksums = gather_parts(Manifest(metadata.CHECKSUMS, (Section(metadata.ITEMS),)), markers, staging)
    _, content = join_manifest(staging, checksums, sums)
    if duplicates.groups:
        listed = hashlib.sha256()
        for chunk in storage.chunks(metadata.DUPLICATES):
            listed.update(chunk)
        sums += metadata.checksum_line(metadata.DUPLICATES, listed.hexdigest())
    sums += metadata.checksum_line(metadata.SUMMARY, metadata.digest(summary))
    if report:
        page = make_page(storage, msgspec.json.decode(summary), report.language)
        storage.write(metadata.REPORT, page)
        sums += metadata.checksum_line(metadata.REPORT, metadata.digest(page))
        shown += 1
    _, checksums_sha256 = join_manifest(staging, checksums, sums)

    originals = ledger.originals.written
    success = Success(
        run_id=run_id,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        export=plan.export,
        fingerprint=plan.fingerprint,
        content=content,
        files=originals
        + sum(books.files for books in ledger.formats.values())
        + len(manifests)
        + 3
        + shown
        + bool(duplicates.groups),
        checksums_sha256=checksums_sha256,
        file_list_sha256=list_sha256,
        ledger=ledger,
    )
    remove_unlisted(staging)
    storage.sync()
    storage.write(metadata.SUCCESS, _pretty(success), durable=True)
    reporter.advance(1)
    reporter.end()
    return success


def reader_memory(
    formats: Sequence[BaseFormat], catalog: Catalog, manifests: Sequence[ManifestMarker]
) -> dict[str, dict[str, Any]]:
    """For each format whose readers load whole files: its largest file, and bytes of memory that loading it takes."""
    sizes = {marker.path: marker.size for marker in manifests}
    found: dict[str, dict[str, Any]] = {}
    for format_ in formats:
        factor = format_.reader_memory
        own = [manifest.path for manifest in format_.manifests(catalog)] if factor else []
        if own:
            largest = max(own, key=lambda path: sizes[path])
            found[format_.name] = {"path": largest, "bytes": sizes[largest], "memory": round(sizes[largest] * factor)}
    return found


def reading_hints(
    workspace: Workspace, catalog: Catalog, markers: Sequence[RenderMarker], ledger: Ledger, *, folder: str = ""
) -> dict[str, str]:
    """For each format that has written a sample, the line that a user types to read it.

    ``folder`` is where the export is. Without it a path on this machine is named in full; what is in an object store is
    read from a disk, where it is brought first.
    """
    url = workspace.storage.url
    folder = folder or (url.rstrip("/").rpartition("/")[2] if "://" in url else url)
    filled = frozenset((part.path, part.section) for marker in markers for part in marker.parts if part.extent.length)
    contents, split = Contents(catalog, filled), next(iter(catalog.splits))
    wrote = {name for name, books in ledger.formats.items() if books.samples.written}
    formats = [format_ for format_ in workspace.formats if format_.name in wrote]
    lines = {format_.name: format_.how_to_read(folder, split, contents) for format_ in formats}
    return {name: line for name, line in lines.items() if line}


def make_summary(
    config: ExportConfig,
    plan: Plan,
    staged: StagedCatalog,
    ledger: Ledger,
    memory: dict[str, dict[str, Any]],
    hints: dict[str, str],
    unheld: list[str],
    seconds: dict[str, float],
    run_id: str,
    duplicates: Duplicates,
) -> bytes:
    """``export_summary.json``: what was exported, from where, what is missing and why, and how long it took.

    ``memory`` is what :func:`reader_memory` predicts, ``hints`` what :func:`reading_hints` gives, and ``unheld`` the
    warnings of :func:`unheld_warnings`.
    """
    catalog = staged.catalog
    return _pretty(
        {
            "name": config.name,
            "description": config.description,
            "run_id": run_id,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "target": config.target,
            "project": {"id": plan.project_id, "title": plan.project_title},
            "records": {"counted_by_api": plan.counted, "planned": plan.records, **_count(ledger, "records")},
            "failed_records": ledger.failed_records,
            "partial_records": ledger.partial,
            "samples": catalog.samples,
            "annotations": _count(ledger, "annotations"),
            "originals": _count(ledger, "originals"),
            "formats": msgspec.to_builtins(ledger.formats),
            "classes": [
                {"id": index, "name": name, "source": source, "objects": catalog.objects.get(name, {})}
                for index, (name, source) in enumerate(zip(catalog.classes, catalog.class_sources, strict=True))
            ],
            "trees": catalog.trees,
            "splits": catalog.splits,
            "duplicates": msgspec.to_builtins(duplicates),
            "warnings": [
                *plan.warnings,
                *duplicates.warnings(),
                *catalog_warnings(config, staged),
                *original_warnings(ledger),
                *format_warnings(ledger),
                *unheld,
                *mirror_warnings(config, catalog),
                *failure_warnings(ledger),
            ],
            "reader_memory": memory,
            "how_to_read": hints,
            "shards": len(plan.shards),
            "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
            "versions": {
                "synapse-export": __version__,
                **{name: version(name) for name in ("synapse-sdk", "ray", "pyarrow", "numpy", "pycocotools")},
                "python": platform.python_version(),
            },
            "job": submitted_job(),
            "config": config.model_dump(mode="json"),
            "fingerprint": plan.fingerprint,
        }
    )


def catalog_warnings(config: ExportConfig, staged: StagedCatalog) -> list[str]:
    """Warnings about the catalog for readers of the dataset."""
    catalog = staged.catalog
    expected = [name for name, ratio in config.split.ratios.items() if ratio > 0] if config.split.by == "hash" else []
    warnings = [*catalog.warnings]
    warnings += [
        f"split {split!r} has no samples; some readers cannot open an empty split"
        for split in expected
        if not catalog.splits.get(split)
    ]
    if UNASSIGNED in catalog.splits:
        why = f"are not in {config.split.file}" if config.split.by == "file" else "have no category"
        warnings.append(f"{catalog.splits[UNASSIGNED]} samples {why}; they are in split {UNASSIGNED!r}")
    if catalog.classes and not {"project", "lock"} & set(catalog.class_sources):
        warnings.append("CLASS_SCHEMA_UNAVAILABLE: the project configures no classes; their order is that of the names")
    return warnings


_FINDINGS = {
    Reason.EXIF_ORIENTATION: "are stored turned (EXIF): Detectron2, Ultralytics and browsers turn them, torchvision "
    "and datasets do not; exif: bake makes all readers agree",
    Reason.SIZE_CORRECTED: "are not of the size their record declares; labels go by the image's own",
    Reason.IMAGE_UNTERMINATED: "are JPEGs without a proper end; Ultralytics writes such files anew in place",
}


def original_warnings(ledger: Ledger) -> list[str]:
    """Warnings about the images for their readers."""
    found = ledger.originals.lossy
    warnings = [f"{found[reason]} images {text} ({reason})" for reason, text in _FINDINGS.items() if reason in found]
    return [*filter(None, [missing_warning(ledger, "the")]), *warnings]


def missing_warning(ledger: Ledger, which: str) -> str:
    """A warning that the API has no URL of originals, ``""`` if it has all; ``which`` says of which records."""
    missing, seen = ledger.originals.skipped.get(Reason.ORIGINAL_MISSING, 0), ledger.originals.seen
    if not missing:
        return ""
    if missing == seen:
        return (
            f"the API gives no URL of any of {which} {seen} originals; save_original_file: false exports the "
            f"annotations alone ({Reason.ORIGINAL_MISSING})"
        )
    return (
        f"the API gives no URL of {missing} of {which} {seen} originals; readers that open every image stop at one "
        "that is missing (torchvision's CocoDetection), and on_missing_original: drop_image leaves these images out "
        f"({Reason.ORIGINAL_MISSING})"
    )


def format_warnings(ledger: Ledger) -> list[str]:
    """Warnings about single formats for their readers."""
    empty = [
        f"{name}: not one of {books.samples.seen} images could be used, most often because of {_commonest(books)}; "
        "there is nothing to train on"
        for name, books in ledger.formats.items()
        if books.samples.seen and not books.samples.written
    ]
    return empty + [
        f"{name}: {number} images are no .jpg, and torchvision, MMDetection and Detectron2 look for nothing else; "
        f"images: transcode makes them JPEGs ({Reason.IMAGE_NOT_JPEG})"
        for name, books in ledger.formats.items()
        if (number := books.samples.lossy.get(Reason.IMAGE_NOT_JPEG))
    ]


def unheld_warnings(formats: Sequence[BaseFormat], ledger: Ledger) -> list[str]:
    """Warnings about objects that images show and labels do not hold, where an option would let the labels hold them.

    A model that is trained on such images learns that the objects are background.
    """
    warnings = []
    for format_ in formats:
        books = ledger.formats.get(format_.name)
        if books and books.unheld and (advice := format_.how_to_hold(books.unheld)):
            objects = ", ".join(f"{shape} {number:,}" for shape, number in sorted(books.unheld.items()))
            warnings.append(
                f"{format_.name}: {books.unheld_images:,} of {books.samples.written:,} images show objects that the "
                f"labels do not hold, {sum(books.unheld.values()):,} in all ({objects}); a model learns them as "
                f"background; {advice}"
            )
    return warnings


def _commonest(books: FormatCount) -> str:
    reasons = books.samples.skipped or books.samples.failed
    return max(reasons, key=reasons.__getitem__)


def mirror_warnings(config: ExportConfig, catalog: Catalog) -> list[str]:
    """Warnings about skeletons whose mirror images nobody names, where a format would use them."""
    if not any(format_.options.get("task") == "pose" for format_ in config.formats):
        return []
    return [
        f"skeleton {skeleton.name!r}: nobody says which points are mirror images of each other, so Ultralytics does "
        "not mirror images of it; say it with flip in skeletons"
        for skeleton in catalog.skeletons
        if not skeleton.flip
    ]


def failure_warnings(ledger: Ledger) -> list[str]:
    """A warning that records are missing which a retry may still export."""
    if not ledger.failed_records:
        return []
    whole = ledger.failed_records - ledger.partial
    missing = f"{ledger.failed_records} records failed: {whole} are not in the dataset, {ledger.partial} only in part"
    return [f"{missing}; synapse-export retry-failed tries them again, with what is kept in {STAGING}/ for that"]


def _count(ledger: Ledger, name: str) -> dict[str, Any]:
    counts: dict[str, Any] = msgspec.to_builtins(getattr(ledger, name))
    return counts


def _pretty(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
