"""The fingerprint of a file, computed from its chunks as they come (spec/03-package s.3)."""

from typing import final

from ddtp.crypto import sm3
from ddtp.errors import InternalError
from ddtp.protocol.chunks import check_chunk_size
from ddtp.protocol.codec import Buffer
from ddtp.protocol.leaves import CanonicalForm, FileHead, chunk_heads
from ddtp.protocol.merkle import RootBuilder


@final
class FileHasher:
    """Hashes one file, in memory of one hash per level of its tree.

    Args:
        path: Name of the file in the package.
        media_type: Its format.
        chunk_size: Bytes per chunk.
        file_key: Key that gives the salts of its chunks, 32 bytes.

    Raises:
        DecodeError: The chunk size is not allowed.
    """

    def __init__(self, path: str, media_type: str, *, chunk_size: int, file_key: bytes) -> None:
        check_chunk_size(chunk_size)
        self._path = path
        self._media_type = media_type
        self._chunk_size = chunk_size
        self._file_key = file_key
        self._tree = RootBuilder()
        self._size_bytes = 0

    def add(self, chunks: Buffer) -> bytes:
        """Append chunks that lie one after the other: whole ones, but for the last of the file.

        Returns:
            The leaf of the last of them, 32 bytes.

        Raises:
            InternalError: There are none, or they follow the last one of the file.
        """
        found = sm3.leaves(self.heads(len(chunks)), chunks, stride=self._chunk_size)
        self.append(found, size_bytes=len(chunks))
        return found[-sm3.DIGEST_SIZE :]

    def heads(self, size_bytes: int) -> bytes:
        """Return the heads of the next chunks, for whoever computes their leaves beside other work.

        Args:
            size_bytes: Bytes in all of them together.

        Raises:
            InternalError: There are none, or they follow the last one of the file.
        """
        if self._size_bytes % self._chunk_size or not size_bytes:
            raise InternalError(f"expected whole chunks of {self._chunk_size} bytes before the last one")
        return chunk_heads(self._file_key, self._tree.size, size_bytes=size_bytes, chunk_size=self._chunk_size)

    def append(self, leaves: Buffer, *, size_bytes: int) -> None:
        """Append the leaves of chunks whose heads were asked for.

        Args:
            leaves: 32 bytes each.
            size_bytes: Bytes in all of these chunks together.
        """
        self._tree.extend(leaves)
        self._size_bytes += size_bytes

    def finish(self, *, canonical: tuple[CanonicalForm, bytes] | None = None) -> FileHead:
        """Return the fingerprint of the chunks so far.

        Args:
            canonical: Form and digest of the canonical content, as `canonical_digest` gives them.

        Raises:
            DecodeError: The path or the media type is not allowed.
        """
        form, digest = canonical or (None, None)
        return FileHead(
            path=self._path,
            media_type=self._media_type,
            size_bytes=self._size_bytes,
            chunk_size=self._chunk_size,
            root=self._tree.root(),
            canonical=digest,
            canonical_form=form,
        )
