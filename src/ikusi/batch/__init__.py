"""From records to batches of tokens and vision features."""
