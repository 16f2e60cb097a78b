"""``metadata/report.html``: one file that shows an export, made of what its ``metadata/`` holds.

The page loads nothing, needs no script, and its size is bounded: tables have a bounded number of rows of bounded texts,
pictures a bounded number of bytes.
"""

import base64
import csv
import functools
import io
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from pipeline.destination import metadata
from pipeline.errors import UNREADABLE_JSON, DamagedExportError, StorageError, TransientError
from pipeline.images.files import PictureError
from pipeline.images.thumbnails import make_thumbnail
from pipeline.redaction import redact
from pipeline.report.charts import overlay, share_bar
from pipeline.report.panels import make_panels
from pipeline.report.texts import TEXTS, reason_in_words
from pipeline.statistics.totals import ClassCount, DrawnSample, Statistics
from pipeline.storage import Storage

RARE = 20
"""A class with fewer objects is named."""
SHOWN = frozenset(
    (
        "name",
        "description",
        "finished",
        "target",
        "project",
        "records",
        "failed_records",
        "annotations",
        "originals",
        "formats",
        "classes",
        "splits",
        "warnings",
        "seconds",
        "versions",
        "config",
    )
)
"""What a page shows of ``export_summary.json``."""

_MOST_CLASSES, _MOST_NAMES, _MOST_ROWS, _MOST_CONFIG = 200, 12, 20, 20_000
_MOST_ORIGINAL = 32 * 2**20
_HEAD = 1 << 16
_MOST_PAGE = 3 * 2**20
# Okabe and Ito's, and others that are told apart on pictures.
_COLOURS = (
    "#e69f00", "#56b4e9", "#00c08a", "#f0e442", "#3b8ee6", "#e8622a", "#d978b4", "#a3d11d", "#ff5c7a", "#9b8cff",
    "#2fd0d6", "#c9a27a",
)  # fmt: skip


@functools.cache
def _template() -> Template:
    # Class names and the rest come from users: everything is escaped but the charts, which escape their own.
    environment = Environment(
        loader=PackageLoader("pipeline.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"n": _number, "short": _short}
    return environment.get_template("report.html.jinja")


def make_page(storage: Storage, summary: Mapping[str, Any], language: str = "en") -> bytes:
    """Return the page of the export in ``storage``, whose ``export_summary.json`` is ``summary``.

    Raises DamagedExportError when ``statistics.json`` cannot be read.
    """
    return _Page(storage, summary, read_statistics(storage), language).render()


def read_statistics(storage: Storage) -> Statistics | None:
    """Return the statistics of an export, None when it has none. Raises DamagedExportError when they are damaged."""
    data = storage.find(metadata.STATISTICS)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Statistics)
    except UNREADABLE_JSON as error:
        where = f"{storage.url}/{metadata.STATISTICS}"
        raise DamagedExportError(where, "is not readable; export again with on_existing: overwrite") from error


class _Page:
    """What the template shows of one export."""

    def __init__(
        self, storage: Storage, summary: Mapping[str, Any], statistics: Statistics | None, language: str
    ) -> None:
        self._storage, self._summary, self._language = storage, _redacted(dict(summary)), language
        self._measured = statistics is not None
        self._statistics = statistics or Statistics()
        self._texts = TEXTS[language]
        self._splits = list(summary["splits"])
        self._colours = {entry["name"]: position for position, entry in enumerate(summary["classes"])}

    def render(self) -> bytes:
        """Return the page."""
        template = _template()
        samples, legend = self._samples()
        while True:
            page = template.render(**self._content(), samples=samples, legend=legend).encode()
            if len(page) <= _MOST_PAGE or not samples:
                return page
            samples = samples[: len(samples) // 2]  # texts of the longest kind leave less room for pictures

    def _content(self) -> dict[str, Any]:
        summary, texts = self._summary, self._texts
        failed = summary["failed_records"]
        seen = summary["records"]["seen"]
        verdict = texts["partial"].format(f"{failed:,}", f"{seen:,}") if failed else texts["good" if seen else "empty"]
        keeps = summary["config"].get("save_original_file", True)
        classes = self._classes()
        return {
            "language": self._language,
            "t": texts,
            "summary": summary,
            "verdict": verdict,
            "is_bad": bool(failed),
            "next_steps": self._next_steps(failed),
            "tiles": self._tiles(),
            "books": self._books(),
            "losses": self._losses()[:60],
            "failures": list(self._failures()),
            "measured": self._measured,
            "splits": self._splits,
            "classes": classes[:_MOST_CLASSES],
            "hidden_classes": max(len(classes) - _MOST_CLASSES, 0),
            "class_notes": self._class_notes(classes),
            "panels": make_panels(self._statistics, texts),
            "no_samples": texts["no_pictures" if keeps else "no_originals"],
            "findings": self._findings(),
            "duplicates": self._duplicates(),
            "config": shown_configuration(summary["config"])[:_MOST_CONFIG],
            "colours": _COLOURS,
        }

    def _next_steps(self, failed: int) -> list[dict[str, str]]:
        texts = self._texts
        steps = [{"text": texts["retry"], "code": "synapse-export retry-failed CONFIG"}] if failed else []
        steps.append({"text": texts["verify"], "code": f"synapse-export verify {redact(self._storage.url)} --full"})
        hints = self._summary.get("how_to_read", {})
        return steps + [{"text": texts["read"].format(name), "code": line} for name, line in hints.items()]

    def _tiles(self) -> list[dict[str, str]]:
        summary, texts = self._summary, self._texts
        images = sum(summary["splits"].values())
        numbers = {
            "records": summary["records"]["written"],
            "images": images,
            "annotations": summary["annotations"]["written"],
            "classes": len(summary["classes"]),
            "splits": len(self._splits),
        }
        tiles = [
            {"name": texts["classes_tile" if name == "classes" else name], "value": f"{number:,}"}
            for name, number in numbers.items()
        ]
        if self._statistics.bytes:
            tiles.append({"name": texts["bytes"], "value": _size(self._statistics.bytes)})
        return tiles

    def _books(self) -> list[dict[str, Any]]:
        summary, texts = self._summary, self._texts
        books = {texts[name]: summary[name] for name in ("records", "annotations", "originals")}
        for name, counts in summary["formats"].items():
            books[texts["samples_of"].format(name)] = counts["samples"]
            books[texts["annotations_of"].format(name)] = counts["annotations"]
        return [
            {
                "name": name,
                "numbers": (
                    count["seen"],
                    count["written"],
                    *(sum(count[outcome].values()) for outcome in ("lossy", "skipped", "failed")),
                ),
            }
            for name, count in books.items()
        ]

    def _losses(self) -> list[dict[str, Any]]:
        """What formats could not keep, by reason: annotations by their tool, then samples and originals."""
        summary, texts = self._summary, self._texts
        rows: list[tuple[str, str, str, int]] = []
        for name, counts in summary["formats"].items():
            for tool, reasons in counts["losses"].items():
                rows += [(name, tool, reason, number) for reason, number in reasons.items()]
            for outcome in ("skipped", "lossy", "failed"):
                rows += [
                    (name, texts["images"], reason, number) for reason, number in counts["samples"][outcome].items()
                ]
        for name in ("originals", "annotations", "records"):
            for outcome in ("skipped", "lossy", "failed"):
                rows += [("–", texts[name], reason, number) for reason, number in summary[name][outcome].items()]
        return [
            {"where": where, "what": what, "reason": reason, "count": number, "words": self._words(reason)}
            for where, what, reason, number in rows
        ]

    def _words(self, reason: str) -> str:
        return reason_in_words(reason, self._language)

    def _failures(self) -> Iterator[dict[str, Any]]:
        for line in self._head(metadata.FAILURES).splitlines()[:_MOST_ROWS]:
            try:
                row = msgspec.json.decode(line)
            except UNREADABLE_JSON:  # a line that the bound on what is read cuts
                continue
            yield {**row, "detail": redact(row["detail"]), "words": self._words(row["reason"])}

    def _head(self, path: str) -> bytes:
        size = self._storage.size(path)
        return self._storage.read_range(path, 0, min(size, _HEAD)) if size else b""

    def _classes(self) -> list[dict[str, Any]]:
        counted = self._statistics.classes
        names = dict.fromkeys([entry["name"] for entry in self._summary["classes"]]) | dict.fromkeys(counted)
        for name in self._statistics.points.keys() - counted.keys():  # keypoints have a table of their own
            names.pop(name, None)
        found = []
        for name in names:
            by_split = counted.get(name, {})
            counts = [by_split.get(split, ClassCount()) for split in self._splits]
            found.append(
                {
                    "name": name,
                    "by_split": [count.objects for count in counts],
                    "objects": sum(count.objects for count in counts),
                    "images": sum(count.images for count in counts),
                    "small": sum(count.small for count in counts),
                    "medium": sum(count.medium for count in counts),
                    "large": sum(count.large for count in counts),
                }
            )
        found.sort(key=lambda row: (-int(row["objects"]), str(row["name"])))
        most = max((row["objects"] for row in found), default=0)
        return [{**row, "bar": share_bar(row["by_split"], most)} for row in found]

    def _class_notes(self, classes: list[dict[str, Any]]) -> list[str]:
        texts = self._texts
        used = [row for row in classes if row["objects"]]
        unused = [row["name"] for row in classes if not row["objects"]]
        rare = [row["name"] for row in used if row["objects"] < RARE]
        alone = [row["name"] for row in used if sum(map(bool, row["by_split"])) == 1] if len(self._splits) > 1 else []
        notes = [texts["rare"].format(RARE, _names(rare))] if rare else []
        notes += [texts["one_split"].format(_names(alone))] if alone else []
        return notes + ([texts["unused"].format(_names(unused))] if unused else [])

    def _findings(self) -> list[dict[str, Any]]:
        texts = self._texts
        rows = [
            {"text": texts.get(name, name), "count": found.count, "records": _records(found.count, found.records)}
            for name, found in self._statistics.findings.items()
        ]
        for category, number in self._statistics.empty_categories.items():
            if category:
                rows.append({"text": texts["empty_in"].format(_short(category, 40)), "count": number, "records": ""})
        folded: dict[str, list[str]] = {}
        for name in self._colours:
            folded.setdefault("".join(name.casefold().split()), []).append(name)
        alike = [names for names in folded.values() if len(names) > 1]
        rows += [
            {"text": texts["similar_classes"].format(_names([repr(name) for name in names])), "count": len(names),
             "records": ""}
            for names in alike[:_MOST_ROWS]
        ]  # fmt: skip
        return rows

    def _duplicates(self) -> dict[str, Any] | None:
        """What an export says about repeated images: the summary's numbers, and the first rows of the list."""
        counted = self._summary.get("duplicates")
        listed = self._head("metadata/duplicates.csv").decode(errors="replace").splitlines()[: _MOST_ROWS + 1]
        if not isinstance(counted, dict) or not counted.get("originals"):
            return None
        numbers = [_number(counted.get(key, 0)) for key in ("originals", "files", "groups", "across_splits")]
        notes = [self._texts["duplicates_some" if counted.get("groups") else "duplicates_none"].format(*numbers)]
        head, *rows = csv.reader(io.StringIO("\n".join(listed))) if listed else ([],)
        return {"notes": notes + ([self._texts["duplicates_more"]] if rows else []), "head": head, "rows": rows}

    def _samples(self) -> tuple[list[dict[str, Any]], list[tuple[str, int]]]:
        shown = []
        used: dict[str, None] = {}
        for sample in self._statistics.samples:
            picture = self._thumbnail(sample)
            if picture is None:
                continue
            used |= dict.fromkeys(sample.labels)
            labels = ", ".join(sample.labels)
            shown.append(
                {
                    "picture": base64.b64encode(picture).decode(),
                    "width": sample.width,
                    "height": sample.height,
                    "record_id": sample.record_id,
                    "split": sample.split,
                    "labels": labels or "–",
                    "hidden": sample.hidden,
                    "alt": self._texts["alt"].format(sample.record_id, len(sample.drawings), labels or "–"),
                    "overlay": overlay(sample, self._colours),
                }
            )
        legend = [(name, self._colours.get(name, 0)) for name in list(used)[: 4 * _MOST_NAMES]]
        return shown, legend

    def _thumbnail(self, sample: DrawnSample) -> bytes | None:
        """A small picture of the original in the export; None where there is none that can be shown."""
        try:
            size = self._storage.size(sample.file)
            if not size or size > _MOST_ORIGINAL:
                return None
            return make_thumbnail(self._storage.read(sample.file), sample.width, sample.height)
        except (PictureError, StorageError, TransientError):  # the page says that pictures are missing when all are
            return None


def shown_configuration(config: Mapping[str, Any]) -> str:
    """Return a configuration as JSON that may be shown: no value of ``storage_options``, no query of a URL."""
    shown = {key: value for key, value in config.items() if value not in (None, "", {}, [])}
    if options := shown.get("storage_options"):
        shown["storage_options"] = dict.fromkeys(options, "•••")
    return redact(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())


def _redacted(value: Any) -> Any:
    """Return plain data in which no text has a URL with a secret."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redacted(item) for key, item in value.items()}
    return [_redacted(item) for item in value] if isinstance(value, list) else value


def _records(count: int, records: list[int]) -> str:
    return ", ".join(map(str, records)) + (", …" if count > len(records) else "")


def _names(names: list[str]) -> str:
    """Return some names as a list in which each keeps its own direction of writing (Unicode's isolates)."""
    shown = ", ".join(f"\u2068{_short(name, 40)}\u2069" for name in names[:_MOST_NAMES])
    return shown + (f", … ({len(names):,})" if len(names) > _MOST_NAMES else "")


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _short(text: object, most: int) -> str:
    whole = str(text)
    return whole if len(whole) <= most else whole[: most - 1] + "…"


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
