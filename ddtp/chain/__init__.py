"""Anchoring: what is put on a ledger, how it is proven, and the ledgers themselves (spec/09-ledger)."""
