"""Write the tables of losses in ``docs/formats.md`` from what the formats declare.

::

.venv/bin/python -m tests.formats.write_docs
"""

from pathlib import Path

from pipeline.formats import Kind, load_format

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "formats.md"
START, END = "<!-- losses -->\n", "<!-- end of losses -->\n"

# Each table: formats with the options they are shown with.
TABLES = (
    (("coco", {}), ("voc", {}), ("imagefolder", {}), ("semantic", {})),
    (
        ("yolo", {}),
        ("yolo", {"task": "segment", "folder": "segment"}),
        ("yolo", {"task": "pose", "folder": "pose"}),
        ("yolo", {"task": "obb", "folder": "obb"}),
    ),
    (("csv", {}), ("parquet", {}), ("webdataset", {}), ("synapse_json", {})),
)


def loss_table(formats):
    """A Markdown table, without a last line break: a row for each kind of annotation, a column for each format."""
    columns = [(format_.name, format_.support()) for format_ in formats]
    rows = [["annotation", *(f"`{name}`" for name, _ in columns)], ["---"] * (len(columns) + 1)]
    rows += [[kind.value, *(cell(support.get(kind)) for _, support in columns)] for kind in Kind]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def cell(support):
    """One cell of the table: the outcome, the reason, and how the annotation is written."""
    if support is None:
        return "not declared"
    outcome = f"{support.outcome} `{support.reason}`" if support.reason else support.outcome
    return f"{outcome}: {support.how}" if support.how else outcome


def with_tables(page):
    """The page with its tables as they should be."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    tables = [loss_table(load_format(name, options) for name, options in table) for table in TABLES]
    text = "\n\n".join(tables).replace("| skipped `UNSUPPORTED_ANNOTATION_TYPE` ", "| – ")
    return before + START + "\n" + text + "\n\n" + END + after


def main():
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
