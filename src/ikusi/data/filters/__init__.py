"""Which records are good enough to learn from: each is kept, or dropped with a reason."""
