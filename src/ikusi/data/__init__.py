"""Sources of records, pictures and mixtures."""
