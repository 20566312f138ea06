"""ikusi turns a text LLM into a multimodal one that sees and answers in a low-resource language."""
