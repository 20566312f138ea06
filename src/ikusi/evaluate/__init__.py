"""Tasks, scores, statistics and the report."""
