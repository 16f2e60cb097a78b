"""Charts as inline SVG. Every chart has a text for readers who do not see it; colours come from the page's style."""

from collections.abc import Sequence

from markupsafe import Markup, escape

from pipeline.statistics.totals import GRID, DrawnSample

_WIDTH, _HEIGHT, _FOOT = 480, 200, 34
_COLOURS = 12  # classes .c0 to .c11 of the page's style


def histogram(counts: Sequence[int], labels: Sequence[str], described: str) -> Markup:
    """Return a bar for each count; every label that fits stands below its bar."""
    most = max(counts, default=0) or 1
    step = _WIDTH / max(len(counts), 1)
    every = max(1, -(-len(counts) // 8))
    floor = _HEIGHT - _FOOT
    parts = []
    for position, (count, label) in enumerate(zip(counts, labels, strict=True)):
        height = (floor - 16) * count / most
        left = position * step
        if count:
            parts.append(
                f'<rect class="bar" x="{left + 1:.1f}" y="{floor - height:.1f}" width="{max(step - 2, 1):.1f}" '
                f'height="{max(height, 1):.1f}"><title>{escape(label)}: {count:,}</title></rect>'
            )
        if position % every == 0:
            parts.append(
                f'<text x="{left + step / 2:.1f}" y="{floor + 18}" text-anchor="middle">{escape(label)}</text>'
            )
    parts.append(f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{floor}" y2="{floor}"/>')
    parts.append(f'<text class="most" x="2" y="11">{most:,}</text>')
    return _svg(_WIDTH, _HEIGHT, described, "".join(parts))


def heat_map(cells: Sequence[int], described: str) -> Markup:
    """Return a square grid of ``GRID`` x ``GRID`` cells, row by row: the fuller, the darker."""
    most = max(cells, default=0) or 1
    parts = ['<rect class="ground" width="100%" height="100%"/>']
    for position, count in enumerate(cells):
        if count:
            y, x = divmod(position, GRID)
            shade = 0.12 + 0.88 * count / most
            parts.append(f'<rect class="heat" x="{x}" y="{y}" width="1.03" height="1.03" opacity="{shade:.2f}"/>')
    return _svg(GRID, GRID, described, "".join(parts), "map")


def share_bar(counts: Sequence[int], most: int) -> Markup:
    """Return one bar of parts, as long as their sum beside ``most``. The numbers stand beside it."""
    parts, left = [], 0.0
    for position, count in enumerate(counts):
        width = 100 * count / (most or 1)
        parts.append(f'<rect class="c{position % _COLOURS}" x="{left:.2f}" width="{width:.2f}" height="10"/>')
        left += width
    return Markup(  # noqa: S704  numbers only
        f'<svg class="share" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'
    )


def overlay(sample: DrawnSample, colours: dict[str, int]) -> Markup:
    """Return the annotations of a sample, to lie over its picture: a shape for each, in the colour of its class."""
    parts = []
    for drawing in sample.drawings:
        style = f"c{colours.get(drawing.label, 0) % _COLOURS}"
        numbers = drawing.points
        points = " ".join(f"{x},{y}" for x, y in zip(numbers[0::2], numbers[1::2], strict=True))
        title = f"<title>{escape(drawing.label)}</title>"
        if drawing.kind == "point":  # a line of no length with round ends stays round on a picture that is not square
            x, y = numbers[:2]
            parts.append(f'<path class="point {style}" d="M{x} {y}h0">{title}</path>')
        else:
            tag = "polygon" if drawing.kind == "ring" else "polyline"
            parts.append(f'<{tag} class="{drawing.kind} {style}" points="{points}">{title}</{tag}>')
    head = '<svg class="overlay" viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true">'
    return Markup(f"{head}{''.join(parts)}</svg>")  # noqa: S704  names are escaped above


def _svg(width: float, height: float, described: str, content: str, style: str = "chart") -> Markup:
    head = f'<svg class="{style}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(described)}">'
    return Markup(f"{head}{content}</svg>")  # noqa: S704  names are escaped above
