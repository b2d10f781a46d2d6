"""What writes records: layouts of source folders, the plan, the work, the shards."""
