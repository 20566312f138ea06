"""Every published source, read into records."""
