"""Types, configuration, the store: what everything stands on. No torch."""
