"""The wire language of DDTP: one module per spec chapter, pure functions on bytes and frozen values."""
