"""Tables of annotations: CSV and Parquet."""
