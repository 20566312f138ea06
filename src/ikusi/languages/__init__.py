"""Language packs: one data file per language, and what validates them."""
