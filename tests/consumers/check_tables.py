"""The tables as programs for tables read them: ``check_tables.py <export> <cache>``.

Prints, for each program, how many rows, annotations and images each split has, and (by DuckDB) all boxes.
"""

import json
import sys
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset
from datasets import load_dataset

export, cache = sys.argv[1:]
parquet, other, table = f"{export}/parquet", f"{export}/parquet_other", f"{export}/annotations.csv"
COUNTS = "SELECT split, count(*), count(annotation_id), count(DISTINCT image_id) FROM {} GROUP BY split ORDER BY split"
BOXES = (
    "SELECT file_name, \"class\", x, y, width, height FROM {} WHERE tool = 'bounding_box' AND rotation = 0"
    " ORDER BY annotation_id"
)


def pandas_counts(frame):
    """The counts of a pandas table, as DuckDB gives them."""
    groups = frame.groupby("split", observed=True)
    return [
        [str(split), len(rows), int(rows["annotation_id"].count()), int(rows["image_id"].nunique())]
        for split, rows in groups
    ]


in_parquet = f"read_parquet('{parquet}/*/*.parquet', hive_partitioning = true)"
in_csv = f"read_csv('{table}')"
arrow = pyarrow.dataset.dataset(parquet, partitioning="hive").to_table()
polar = pl.read_parquet(f"{parquet}/*/*.parquet", hive_partitioning=True)
files = {folder.name.partition("=")[2]: f"{folder}/*.parquet" for folder in sorted(Path(parquet).iterdir())}
hugging = load_dataset("parquet", data_files=files, cache_dir=cache)
json.dump(
    {
        "parquet": {
            "duckdb": duckdb.sql(COUNTS.format(in_parquet)).fetchall(),
            "pyarrow": pandas_counts(arrow.to_pandas()),
            "polars": pandas_counts(polar.to_pandas()),
            "datasets": sorted(
                [split, len(rows), len([v for v in rows["annotation_id"] if v is not None]), len(set(rows["image_id"]))]
                for split, rows in hugging.items()
            ),
        },
        "csv": {
            "duckdb": duckdb.sql(COUNTS.format(in_csv)).fetchall(),
            "pandas": pandas_counts(pd.read_csv(table)),
            "polars": pandas_counts(pl.read_csv(table, infer_schema_length=None).to_pandas()),
        },
        "other": duckdb.sql(f"SELECT count(annotation_id) FROM read_parquet('{other}/*.parquet')").fetchall()[0][0],
        "schema": duckdb.sql(f"SELECT column_name, column_type FROM (DESCRIBE FROM {in_parquet})").fetchall(),
        "boxes": {
            name: duckdb.sql(BOXES.format(rows)).fetchall() for name, rows in (("parquet", in_parquet), ("csv", in_csv))
        },
        "classes": arrow.to_pandas()["class"].cat.categories.tolist(),
    },
    sys.stdout,
)
