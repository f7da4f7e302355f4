"""Speed of the primitives as the protocol calls them, of the backend in use and of the libraries (`_library`).

The backend is chosen once per process, so each is measured in a process of its own: `python -m tests.bench.crypto`.
Peers are what is installed: Debian's libgcrypt20, and the packages gmssl_pyx (GmSSL in C) and ipp-crypto with
intel-cmplr-lib-rt (Intel's crypto_mb, which needs AVX-512 IFMA).
"""

import hashlib
import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.hashes import SM3, Hash

from ddtp.crypto import _libcrypto, sm2, sm3
from ddtp.crypto.sm4 import SM4GCM
from ddtp.protocol import merkle
from ddtp.protocol.chunks import CONTENT_KEY_SIZE, RUN_CHUNKS, SALT_SIZE, ChunkCipher, SealContext, SealPurpose
from ddtp.protocol.merkle import LeafType
from tests.bench import crypto_libraries
from tests.bench.crypto_libraries import SM2_LANES, CryptoMb, Library
from tests.bench.figures import BUDGET_SECONDS, Figure, Measured, Missing, Options, calls_per_second, race, seconds
from tests.bench.processes import bound_to_us

CHUNK_SIZE = 64 << 10
TREE_CHUNKS = 256
"""Chunks of one tree: 16 MiB, more than the caches of a core hold."""
BATCH = 64
"""Signatures that are verified in one call."""
CHILD_SECONDS = 600.0
BACKENDS: Mapping[str, Mapping[str, str]] = {
    "": {},
    "_library": {"DDTP_CRYPTO": "library"},
    **{
        f"_{path}": {"DDTP_CRYPTO": "native", "DDTP_CRYPTO_PATH": path}
        for path in ("gfni512", "gfni256", "aesni", "armce", "portable")
    },
}
"""Suffix of the figures, and what the process is forced to use."""
KEY, NONCE, MESSAGE = bytes(16), bytes(12), bytes(32)

Sample = Callable[[], float]


def measure(options: Options) -> Measured:
    """Measure every backend in its own process."""
    for peer, reason in _missing_peers():
        yield Missing(f"peer {peer}", reason)
    for suffix, forced in BACKENDS.items():
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DDTP_CRYPTO")}
        done = subprocess.run(
            bound_to_us(sys.executable, "-m", "tests.bench.crypto", str(options.runs)),
            env=environment | forced,
            capture_output=True,
            text=True,
            timeout=CHILD_SECONDS,
            check=False,
        )
        if done.returncode:
            yield Missing(f"crypto figures{suffix}", (done.stderr.splitlines() or ["no reason given"])[-1])
        for line in done.stdout.splitlines():
            found = json.loads(line)
            yield Figure(found["name"] + suffix, found["unit"], found["samples"], found["peer"])


def figures(runs: int) -> Iterator[Figure]:
    """Measure this process's backend."""
    chunks = _chunks()
    libraries, _ = crypto_libraries.load(key=KEY, nonce=NONCE, chunks=chunks)
    yield from _ciphers(runs, chunks[0], libraries)
    yield from _signatures(runs, libraries)


def _ciphers(runs: int, chunk: bytes, libraries: Mapping[str, Library]) -> Iterator[Figure]:
    block, cipher = os.urandom(16), SM4GCM(KEY)
    yield race(
        "sm4_gcm_64KiB_GBps",
        "GB/s",
        lambda: _gigabytes(lambda: cipher.seal(NONCE, chunk)),
        runs=runs,
        peers={"pyca": lambda: _gigabytes(lambda: _pyca_seal(chunk))}
        | {name: partial(_gigabytes, each.seal, chunks=each.lanes) for name, each in libraries.items()},
    )
    yield race(
        "sm4_gcm_16B_ns",
        "ns",
        lambda: 1e9 / calls_per_second(lambda: cipher.seal(NONCE, block)),
        runs=runs,
        peers={"pyca": lambda: 1e9 / calls_per_second(lambda: _pyca_seal(block))},
    )
    content = os.urandom(TREE_CHUNKS * CHUNK_SIZE)
    yield race(
        "sm3_tree_64KiB_GBps",
        "GB/s",
        lambda: TREE_CHUNKS * CHUNK_SIZE / 1e9 / seconds(lambda: _tree(content)),
        runs=runs,
        peers=_hash_peers(chunk)
        | {name: partial(_gigabytes, each.digest, chunks=each.lanes) for name, each in libraries.items()},
    )
    # the same work for all of them: sixteen chunks that stay in the caches, no tree
    run, heads = memoryview(content)[: RUN_CHUNKS * CHUNK_SIZE], bytes(RUN_CHUNKS * sm3.BLOCK_SIZE)
    yield race(
        "sm3_16x64KiB_GBps",
        "GB/s",
        lambda: _gigabytes(lambda: sm3.leaves(heads, run, stride=CHUNK_SIZE), chunks=RUN_CHUNKS),
        runs=runs,
        peers={name: partial(_gigabytes, each.digest, chunks=each.lanes) for name, each in libraries.items()},
    )
    sealing = ChunkCipher(bytes(CONTENT_KEY_SIZE), salt=bytes(SALT_SIZE), context=_context())
    # one second per sample: threads share the machine with everything else
    yield race(
        "seal_hash_1thread_GBps",
        "GB/s",
        lambda: _sealed_by_threads(sealing, run, count=1),
        runs=runs,
        peers={"pyca": lambda: _gigabytes(lambda: _pyca_hash(_pyca_seal(chunk)))}
        | {name: partial(_gigabytes, partial(_seal_hash, each), chunks=each.lanes) for name, each in libraries.items()},
    )
    yield race("seal_hash_2threads_GBps", "GB/s", lambda: _sealed_by_threads(sealing, run, count=2), runs=runs)


def _signatures(runs: int, libraries: Mapping[str, Library]) -> Iterator[Figure]:
    private_key, other = (sm2.generate_private_key(os.urandom) for _ in range(2))
    public_key, other_public = sm2.public_key(private_key), sm2.public_key(other)
    signer = sm2.Signer(private_key)
    signature = signer.sign(MESSAGE)
    checks = [(public_key, MESSAGE, signature)] * BATCH
    operations: Mapping[str, Callable[[], object]] = {
        "sign": lambda: signer.sign(MESSAGE),
        "verify": lambda: sm2.verify(public_key, MESSAGE, signature),
        "ecdh": lambda: sm2.agree(private_key, other_public),
    }
    others = {
        "gmssl": _gmssl(private_key),
        "gmssl_pyx": _gmssl_pyx(private_key, public_key),
        "libcrypto": _openssl(private_key, other_public),
        "crypto_mb": _crypto_mb(libraries.get("crypto_mb"), private_key, public_key),
    }
    for name, operation in operations.items():
        yield race(
            f"sm2_{name}_per_s",
            "1/s",
            partial(calls_per_second, operation),
            runs=runs,
            peers={peer: samples[name] for peer, samples in others.items() if name in samples},
        )
    yield race(
        f"sm2_verify_batch{BATCH}_per_s",
        "1/s",
        lambda: BATCH * calls_per_second(lambda: sm2.verify_many(checks)),
        runs=runs,
        peers={
            peer: samples.get("verify_batch", samples["verify"])
            for peer, samples in others.items()
            if "verify" in samples
        },
    )


def _missing_peers() -> Iterator[tuple[str, str]]:
    yield from crypto_libraries.load(key=KEY, nonce=NONCE, chunks=_chunks())[1].items()
    yield from ((name, "the package is not installed") for name in ("gmssl", "gmssl_pyx") if find_spec(name) is None)
    if _libcrypto.load() is None:
        yield "libcrypto", "no OpenSSL 3 with SM2 was found"


def _chunks() -> list[bytes]:
    return [os.urandom(CHUNK_SIZE) for _ in range(CryptoMb.lanes)]


def _gigabytes(operation: Callable[[], object], *, chunks: int = 1) -> float:
    return calls_per_second(operation) * chunks * CHUNK_SIZE / 1e9


def _seal_hash(library: Library) -> None:
    library.seal()
    library.digest_sealed()


def _tree(content: bytes) -> bytes:
    tree = merkle.RootBuilder()
    for start in range(0, len(content), RUN_CHUNKS * CHUNK_SIZE):
        part = memoryview(content)[start : start + RUN_CHUNKS * CHUNK_SIZE]
        heads = (merkle.leaf_head(LeafType.CHUNK, CHUNK_SIZE, index=tree.size + each) for each in range(RUN_CHUNKS))
        tree.extend(sm3.leaves(b"".join(heads), part, stride=CHUNK_SIZE))
    return tree.root()


def _sealed_by_threads(cipher: ChunkCipher, content: memoryview, *, count: int) -> float:
    """Return how fast that many threads seal runs of chunks and hash what they sealed, together."""
    done: list[int] = []

    def work() -> None:
        runs, stop = 0, threading.Event()
        timer = threading.Timer(3 * BUDGET_SECONDS, stop.set)
        timer.start()
        while not stop.is_set():
            cipher.seal_run(RUN_CHUNKS * runs, content, count=RUN_CHUNKS)
            runs += 1
        done.append(runs)
        timer.join()

    threads = [threading.Thread(target=work) for _ in range(count)]

    def run() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    spent = seconds(run)
    return sum(done) * len(content) / 1e9 / spent


def _context() -> SealContext:
    return SealContext(
        SealPurpose.TRANSFER, bytes(16), sender="did:key:sender", receiver="did:key:receiver", chunk_size=CHUNK_SIZE
    )


def _pyca_seal(data: bytes) -> bytes:
    encryptor = Cipher(SM4(KEY), modes.GCM(NONCE)).encryptor()
    return encryptor.update(data) + encryptor.finalize() + encryptor.tag


def _pyca_hash(data: bytes) -> bytes:
    state = Hash(SM3())
    state.update(data)
    return state.finalize()


def _hash_peers(chunk: bytes) -> dict[str, Sample]:
    peers: dict[str, Sample] = {"pyca": lambda: _gigabytes(lambda: _pyca_hash(chunk))}
    if "sm3" in hashlib.algorithms_available:
        peers["hashlib"] = lambda: _gigabytes(lambda: hashlib.new("sm3", chunk).digest())
    return peers


def _gmssl(private_key: bytes) -> dict[str, Sample]:
    """Return what the gmssl package does on its own, without our guards; it has no key agreement."""
    if find_spec("gmssl") is None:
        return {}
    from gmssl import func
    from gmssl.sm2 import CryptSM2

    signer = CryptSM2(private_key.hex(), "")
    public_key = signer._kg(int.from_bytes(private_key, "big"), signer.ecc_table["g"])
    both = CryptSM2(private_key.hex(), public_key)
    signature = both.sign(MESSAGE, func.random_hex(both.para_len))
    return {
        "sign": lambda: calls_per_second(lambda: both.sign(MESSAGE, func.random_hex(both.para_len))),
        "verify": lambda: calls_per_second(lambda: both.verify(signature, MESSAGE)),
    }


def _gmssl_pyx(private_key: bytes, public_key: bytes) -> dict[str, Sample]:
    """Return what the C library GmSSL does through its package gmssl_pyx, if that is installed."""
    if find_spec("gmssl_pyx") is None:
        return {}
    gmssl = importlib.import_module("gmssl_pyx")
    point = gmssl.normalize_sm2_public_key(public_key)
    signature = gmssl.sm2_sign(private_key, point, MESSAGE)
    return {
        "sign": lambda: calls_per_second(lambda: gmssl.sm2_sign(private_key, point, MESSAGE)),
        "verify": lambda: calls_per_second(lambda: gmssl.sm2_verify(point, MESSAGE, signature)),
    }


def _openssl(private_key: bytes, other_public: bytes) -> dict[str, Sample]:
    """Return what the system's libcrypto does, as the library backend calls it."""
    library = _libcrypto.load()
    if library is None:
        return {}
    signer, public_key = library.signer(private_key), library.public_key(private_key)
    signature = signer.sign(MESSAGE)
    return {
        "sign": lambda: calls_per_second(lambda: signer.sign(MESSAGE)),
        "verify": lambda: calls_per_second(lambda: library.verify(public_key, MESSAGE, signature)),
        "ecdh": lambda: calls_per_second(lambda: library.agree(private_key, other_public)),
    }


def _crypto_mb(library: Library | None, private_key: bytes, public_key: bytes) -> dict[str, Sample]:
    """Return what crypto_mb does; one signature takes it as long as eight."""
    if not isinstance(library, CryptoMb):
        return {}
    lanes = library.sm2(private_key, public_key, MESSAGE)
    lanes.sign()
    return {
        "sign": lambda: calls_per_second(lanes.sign),
        "verify": lambda: calls_per_second(lanes.verify),
        "verify_batch": lambda: SM2_LANES * calls_per_second(lanes.verify),
        "ecdh": lambda: calls_per_second(lanes.agree),
    }


if __name__ == "__main__":
    for figure in figures(int(sys.argv[1])):
        sys.stdout.write(
            json.dumps(
                {"name": figure.name, "unit": figure.unit, "samples": list(figure.samples), "peer": dict(figure.peer)}
            )
            + "\n"
        )
