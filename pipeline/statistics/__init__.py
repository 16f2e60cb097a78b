"""Statistics of an export: measured shard by shard, added up in any order, the same for every number of workers."""
