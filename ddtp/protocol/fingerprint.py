"""The fingerprint of a file, computed from its chunks as they come (spec/03-package s.3)."""

from typing import final

from ddtp.errors import InternalError
from ddtp.protocol.chunks import check_chunk_size
from ddtp.protocol.codec import Buffer
from ddtp.protocol.leaves import CanonicalForm, FileHead, chunk_leaf
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

    def add(self, chunk: Buffer) -> bytes:
        """Append a chunk: `chunk_size` bytes, fewer in the last one only, never none.

        Returns:
            The leaf of the chunk, 32 bytes.

        Raises:
            InternalError: The chunk has another size, or follows the last one.
        """
        if self._size_bytes % self._chunk_size or not 0 < len(chunk) <= self._chunk_size:
            raise InternalError(f"expected whole chunks of {self._chunk_size} bytes before the last one")
        leaf = chunk_leaf(self._file_key, self._tree.size, chunk)
        self._tree.add(leaf)
        self._size_bytes += len(chunk)
        return leaf

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
