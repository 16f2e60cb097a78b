"""Listings of the API: filters, pages, rows, and the plan of shards over them."""
