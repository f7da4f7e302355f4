"""The disk door: durable files, the vault, the records, the keys. Nothing here knows the network or the ledger."""
