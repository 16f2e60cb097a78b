"""The charts of a report with their titles, notes and tables."""

from typing import Any

from pipeline.report.charts import heat_map, histogram
from pipeline.statistics.totals import ASPECT_BINS, MOST_PER_IMAGE, SIDE_BINS, Statistics

_ROWS = 12
_STEPS = 20


def make_panels(statistics: Statistics, texts: dict[str, str]) -> list[dict[str, Any]]:
    """Return a panel for each thing that was measured: ``title``, ``chart``, ``note``, ``head`` and ``rows``."""
    panels = [_per_image(statistics, texts)]
    if any(statistics.sides):
        sides = [f"{2 ** (position / 2):.0f}" if position else "0" for position in range(SIDE_BINS)]
        panels.append(_histogram("sides", statistics.sides, sides, texts))
        aspects = [f"{2 ** ((position - 12) / 2):.2g}" for position in range(ASPECT_BINS)]
        panels.append(_histogram("aspects", statistics.aspects, aspects, texts))
        described = texts["map_described"].format(texts["positions"], f"{sum(statistics.positions):,}")
        chart = heat_map(statistics.positions, described)
        panels.append(_panel(texts["positions"], chart, texts["positions_note"]))
    panels.append(_table("sizes", statistics.sizes, texts, texts["sizes_note"]))
    panels.append(_table("formats", statistics.formats, texts))
    if statistics.orientations:
        orientations = {str(number): images for number, images in statistics.orientations.items()}
        panels.append(_table("orientations", orientations, texts, texts["orientations_note"]))
    panels.append(_table("kinds", statistics.kinds, texts))
    if statistics.points:
        head = [texts[name] for name in ("point", "missing", "occluded", "visible")]
        rows = [[label[:60], *counts] for label, counts in list(statistics.points.items())[:60]]
        panels.append({**_panel(texts["points"], "", ""), "head": head, "rows": rows})
    return panels


def _per_image(statistics: Statistics, texts: dict[str, str]) -> dict[str, Any]:
    counts: dict[int, int] = {}
    for images in statistics.per_image.values():
        for objects, number in images.items():
            counts[objects] = counts.get(objects, 0) + number
    most = max(counts, default=0)
    width = max(1, -(-(most + 1) // _STEPS))
    bins = [0] * (most // width + 1)
    for objects, number in counts.items():
        bins[objects // width] += number
    labels = [f"{start * width}" + (f"–{start * width + width - 1}" if width > 1 else "") for start in range(len(bins))]
    if most == MOST_PER_IMAGE:
        labels[-1] = f"≥ {(len(bins) - 1) * width}"
    return _panel(texts["per_image"], _chart(texts["per_image"], bins, labels, texts), "")


def _histogram(name: str, counts: list[int], labels: list[str], texts: dict[str, str]) -> dict[str, Any]:
    """The part of a histogram that holds something."""
    filled = [position for position, count in enumerate(counts) if count]
    part = slice(filled[0], filled[-1] + 1)
    return _panel(texts[name], _chart(texts[name], counts[part], labels[part], texts), texts[f"{name}_note"])


def _chart(title: str, counts: list[int], labels: list[str], texts: dict[str, str]) -> str:
    position = max(range(len(counts)), key=counts.__getitem__)
    return histogram(counts, labels, texts["described"].format(title, f"{counts[position]:,}", labels[position]))


def _table(name: str, counts: dict[str, int], texts: dict[str, str], note: str = "") -> dict[str, Any]:
    largest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_ROWS]
    return {**_panel(texts[name], "", note), "rows": [[key or "–", number] for key, number in largest]}


def _panel(title: str, chart: str, note: str) -> dict[str, Any]:
    return {"title": title, "chart": chart, "note": note, "head": [], "rows": []}
