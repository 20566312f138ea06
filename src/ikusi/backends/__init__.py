"""Whatever answers a prompt: one interface for translating, judging, evaluating, serving."""
