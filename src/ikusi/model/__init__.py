"""Vision encoder, connector and language model as one transformers model."""
