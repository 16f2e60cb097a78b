"""``README.md`` at the root of an export: what the dataset is, for people and for the Hugging Face Hub."""

import re
from collections.abc import Mapping, Sequence

import msgspec

from pipeline.config.export import ExportConfig
from pipeline.model.catalog import Catalog
from pipeline.model.ledger import Ledger

_MOST_CLASSES = 100
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_PROVENANCE = (
    "`metadata/records.csv` leads from every file to its record. `metadata/failures.jsonl` and "
    "`metadata/losses.jsonl` say what is not in the dataset, and why. `metadata/report.html` shows it."
)
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def make_card(
    config: ExportConfig, project: str, catalog: Catalog, ledger: Ledger, hints: Mapping[str, str], paths: Sequence[str]
) -> bytes:
    """Return the card. It holds no time and no place, so the same data and configuration give the same bytes.

    ``hints`` are the lines that read each format from the root of the export. ``paths`` are the joined files.
    """
    images = sum(catalog.splits.values())
    size = next((name for most, name in _SIZES if images < most), "n>1M")
    header = ["---", f"pretty_name: {_quoted(config.name)}", "size_categories:", f"- {size}"]
    header += _configurations(paths)
    header += ["tags:", "- synapse", *(f"- {_quoted(name)}" for name in sorted(ledger.formats)), "---", ""]
    counts = (
        f"{ledger.records.written:,} records, {images:,} images, {ledger.annotations.written:,} annotations, "
        f"{len(catalog.classes):,} classes"
    )
    body = [f"# {_text(config.name)}", ""]
    if config.description:
        body += [_text(config.description), ""]
    body += [
        f"Exported from Synapse: {config.target} of project {_text(project) if project else '–'}.",
        "",
        f"{counts}. Licence: not stated by the project; ask its owner.",
        "",
        "## Splits and classes",
        "",
        "| split | images |",
        "|---|---:|",
        *(f"| {_text(split)} | {number:,} |" for split, number in catalog.splits.items()),
        "",
        *_class_table(catalog),
    ]
    if hints:
        body += ["## How to load it", "", "From this folder:", ""]
        for name, line in hints.items():
            body += [f"- {_text(name)}:", "", *(f"      {part}" for part in line.splitlines()), ""]
    body += [
        "## Where it comes from",
        "",
        _PROVENANCE,
        "",
    ]
    return "\n".join([*header, *body]).encode(errors="backslashreplace")


def _class_table(catalog: Catalog) -> list[str]:
    if not catalog.classes:
        return []
    splits = list(catalog.splits)
    rows = [
        "| class | " + " | ".join(map(_text, splits)) + " |",
        "|---|" + "---:|" * len(splits),
    ]
    for name in catalog.classes[:_MOST_CLASSES]:
        objects = catalog.objects.get(name, {})
        rows.append(f"| {_text(name)} | " + " | ".join(f"{objects.get(split, 0):,}" for split in splits) + " |")
    rows.append("")
    if len(catalog.classes) > _MOST_CLASSES:
        rows += [f"{len(catalog.classes) - _MOST_CLASSES:,} more classes are in `metadata/export_summary.json`.", ""]
    return rows


def _configurations(paths: Sequence[str]) -> list[str]:
    """The lines that tell the Hub which files its viewer shows: those of Parquet, where the export has them."""
    tables = [
        path
        for path in paths
        if path.endswith(".parquet") and "/" in path and not path.startswith(("images/", "metadata/"))
    ]
    if not tables:
        return []
    folders: dict[str, dict[str, str]] = {}
    for path in tables:
        folder, _, _ = path.rpartition("/")
        top, _, rest = folder.partition("/")
        folders.setdefault(top, {})[f"{folder}/*.parquet"] = rest.removeprefix("split=") or "train"
    lines = ["configs:"]
    for top, patterns in folders.items():
        lines += [f"- config_name: {_quoted(top)}", "  data_files:"]
        for pattern, split in patterns.items():
            lines += [f"  - split: {_quoted(split)}", f"    path: {_quoted(pattern)}"]
    return lines


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _text(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
