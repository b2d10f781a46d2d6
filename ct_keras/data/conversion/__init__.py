"""Conversion to records: layouts of source folders, plan, workers and shards."""
