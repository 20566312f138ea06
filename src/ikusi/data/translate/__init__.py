"""Translating records: protect, ask, verify, climb or drop; nothing is lost without a reason."""
