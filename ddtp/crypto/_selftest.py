"""Known answers that an implementation must reproduce before it is used (spec/00 s.9).

The values are those of spec/vectors/00-suite; they are repeated here because an installed package has no spec folder,
and a test compares the two.
"""

from collections.abc import Callable
from typing import Final

from ddtp.crypto import _single
from ddtp.crypto._contracts import ChunkRun, Leaves, Sm2, Sm3, Sm3State, Sm4, Sm4Gcm
from ddtp.errors import AuthenticationFailed, CryptoUnavailable

# GB/T 32905-2016 example 1.
SM3_MESSAGE: Final = b"abc"
SM3_DIGEST: Final = bytes.fromhex("66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0")

# RFC 8998 A.1.
SM4_KEY: Final = bytes.fromhex("0123456789abcdeffedcba9876543210")
SM4_NONCE: Final = bytes.fromhex("00001234567800000000abcd")
SM4_AAD: Final = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
SM4_PLAINTEXT: Final = bytes.fromhex(
    "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd"
    "eeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa"
)
SM4_SEALED: Final = bytes.fromhex(
    "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
    "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
    "83de3541e4c2b58177e065a9bf7b62ec"
)

# GM/T 0003.5-2012 annex A.2, user id 1234567812345678.
SM2_PRIVATE_KEY: Final = bytes.fromhex("3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8")
SM2_PUBLIC_KEY: Final = bytes.fromhex("0309f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020")
# GB/T 32918.5-2017 clause 4, compressed; agreement with it gives the x of one's own public key.
SM2_GENERATOR: Final = bytes.fromhex("0232c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7")
SM2_MESSAGE: Final = b"message digest"
SM2_SIGNATURE: Final = bytes.fromhex(
    "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
    "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
)


def check_sm3(implementation: Sm3) -> None:
    """Check the hash of "abc", also through a copied state, and what is built on the hash against single messages.

    Raises:
        CryptoUnavailable: another hash came out.
    """
    state = implementation.new()
    state.update(SM3_MESSAGE[:1])
    twin = state.copy()
    twin.update(SM3_MESSAGE[1:])
    head, pieces, new = bytes(range(64)), bytes(200), implementation.new
    leaves = implementation.leaves(head * 3, pieces, 80)
    passed = (
        twin.digest() == SM3_DIGEST
        and leaves == _single.hash_leaves(new, head * 3, pieces, 80)
        and implementation.root(head, leaves) == _single.hash_root(new, head, leaves)
        and implementation.hmac(head, pieces) == _single.mac(new, head, pieces)
        and implementation.expand(leaves[:32], head, 40) == _single.expand(new, leaves[:32], head, 40)
    )
    if not passed:
        raise _failure("SM3", implementation.description)


def check_sm4(implementation: Sm4, new: Callable[[], Sm3State]) -> None:
    """Check the example of RFC 8998 in both directions, a run of chunks, and that a changed tag is refused.

    Args:
        implementation: What to check.
        new: Starts an SM3 hash that was checked.

    Raises:
        CryptoUnavailable: another ciphertext or plaintext came out, or the changed tag was accepted.
    """
    cipher = implementation.gcm(SM4_KEY)
    sealed = cipher.seal(SM4_NONCE, SM4_PLAINTEXT, SM4_AAD)
    passed = (
        sealed == SM4_SEALED
        and cipher.open(SM4_NONCE, sealed, SM4_AAD) == SM4_PLAINTEXT
        and _runs_like_messages(cipher, new)
    )
    if not passed:
        raise _failure("SM4-GCM", implementation.description)
    try:
        cipher.open(SM4_NONCE, sealed[:-1] + bytes([sealed[-1] ^ 1]), SM4_AAD)
    except AuthenticationFailed:
        return
    raise _failure("SM4-GCM", implementation.description)


def _runs_like_messages(cipher: Sm4Gcm, new: Callable[[], Sm3State]) -> bool:
    # long and many enough for the widest kernels
    content = (SM4_PLAINTEXT * 312)[:-7]
    runs = []
    for _ in range(3):
        plain, sealed = (Leaves(SM4_PLAINTEXT * 20, bytearray(20 * 32)) for _ in range(2))
        runs.append(ChunkRun(SM4_NONCE, 5, 20, 1000, plain=plain, sealed=sealed))
    chunks = cipher.seal_chunks(runs[0], content)
    return (
        chunks == _single.seal_chunks(cipher, new, runs[1], content)
        and cipher.open_chunks(runs[2], chunks) == content
        and runs[0] == runs[1] == runs[2]
    )


def check_sm2(implementation: Sm2) -> None:
    """Check the standard's signature and key, alone and among others, that another message is refused, and agreement.

    Raises:
        CryptoUnavailable: one of these came out differently.
    """
    fresh = implementation.signer(SM2_PRIVATE_KEY).sign(SM2_MESSAGE)
    right, wrong = ((SM2_PUBLIC_KEY, message, SM2_SIGNATURE) for message in (SM2_MESSAGE, SM2_MESSAGE + b"!"))
    # eight fill the lanes of the widest kernel; the last resort has none, and takes 12 ms for each
    checks = [right, wrong] if implementation.last_resort else [right, wrong, *[right] * 6]
    passed = (
        implementation.public_key(SM2_PRIVATE_KEY) == SM2_PUBLIC_KEY
        and implementation.verify(SM2_PUBLIC_KEY, SM2_MESSAGE, SM2_SIGNATURE)
        and implementation.verify(SM2_PUBLIC_KEY, SM2_MESSAGE, fresh)
        and not implementation.verify(*wrong)
        and implementation.verify_many(checks) == [check is right for check in checks]
        and implementation.agree(SM2_PRIVATE_KEY, SM2_GENERATOR) == SM2_PUBLIC_KEY[1:]
    )
    if not passed:
        raise _failure("SM2", implementation.description)


def _failure(primitive: str, description: str) -> CryptoUnavailable:
    return CryptoUnavailable(
        f"expected {primitive} to reproduce its standard's example, found another result from {description}",
        hint="reinstall ddtp and its dependencies; nothing was signed, encrypted or accepted",
    )
