"""SM2, SM3, SM4-GCM and HKDF-SM3: bytes in, bytes out (spec/00).

One module per primitive: `sm2`, `sm3`, `sm4`, `kdf`. This package knows no DDTP format. Which implementation runs is
decided once, at first use, by `_backend`.
"""
