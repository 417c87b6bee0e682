"""The bytes of a file that is imported, line by line, at constant memory.

A file of gzip is known by its first bytes, not by its name. Nothing here reads further ahead than the line that was asked
for, so that the digest is that of all lines so far: an import is recognised by it.
"""

import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from freehold.errors import FileError
from freehold.transfer.formats import Format

__all__ = ["MAXIMUM_LINE", "Line", "Origin", "Source"]

MAXIMUM_LINE = 4_000_000
"""Bytes of one line, and of one record that spans several."""
BUFFER = 1 << 18

Origin = Path | str | IO[bytes]
"""Where records come from: a path, `-` for standard input, or an open binary file."""

_WIDE = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\x00\x00\xfe\xff": "utf-32",
}


class Line:
    """One line.

    Args:
        number: from 1 on.
        text: without the mark of its encoding; with what ended it.
        problem: what is wrong with it, and its code; the text is then only for people.
    """

    __slots__ = ("number", "problem", "text")

    def __init__(self, number: int, text: str, problem: tuple[str, str] | None = None) -> None:
        self.number = number
        self.text = text
        self.problem = problem


class Source:
    """An open file of records.

    Args:
        origin: where it is.
        form: its encoding.

    Raises:
        FileError: it cannot be opened.
    """

    def __init__(self, origin: Origin, form: Format) -> None:
        self.name = _name(origin)
        self.line = 0
        self.length = 0
        self.size: int | None = None
        self._form = form
        self._digest = hashlib.sha256()
        try:
            self._raw = self._opened(origin)
            self._counted = _Counted(self._raw)
            self._readline = self._reader(io.BufferedReader(self._counted, BUFFER))
        except _FAILURES as error:
            raise self._failure(error) from None

    def close(self) -> None:
        """Closes what was opened here; an open file that was given stays open."""
        if self._owned:
            self._raw.close()

    @property
    def position(self) -> int:
        """Bytes that were read, as they lie in the file."""
        return self._counted.count

    @property
    def digest(self) -> bytes:
        """SHA-256 of all lines that were read so far."""
        return self._digest.digest()

    def next_line(self) -> Line | None:
        """The next line, or None at the end.

        Raises:
            FileError: the file ends where it should not, or cannot be read.
        """
        read = self._read(MAXIMUM_LINE + 1)
        if not read:
            return None
        self.line += 1
        self.length += len(read)
        self._digest.update(read)
        if len(read) > MAXIMUM_LINE:
            self._skip_line(read)
            return Line(self.line, "\n", (f"is longer than {MAXIMUM_LINE:,} bytes", "line_too_long"))
        if self.line == 1:
            read = self._without_mark(read)
        encoding = self._form.encoding if self._form.line_wise else "utf-8"
        try:
            return Line(self.line, read.decode(encoding))
        except UnicodeDecodeError as error:
            place = len(read[: error.start].decode(encoding, "replace")) + 1
            reason = f"is not {encoding}: byte 0x{read[error.start]:02x} at character {place}; give the file's encoding"
            return Line(self.line, read.decode(encoding, "backslashreplace"), (reason, "encoding"))

    def _skip_line(self, read: bytes) -> None:
        while read and not read.endswith(b"\n"):
            read = self._read(BUFFER)
            self._digest.update(read)

    def _read(self, limit: int) -> bytes:
        try:
            return self._readline(limit)
        except _FAILURES as error:
            raise self._failure(error) from None

    def _without_mark(self, read: bytes) -> bytes:
        for mark, encoding in _WIDE.items():
            if read.startswith(mark) and self._form.line_wise:
                raise FileError(self.name, f"begins with the mark of {encoding}", hint=f"give the encoding {encoding}")
        return read.removeprefix(b"\xef\xbb\xbf")

    def _opened(self, origin: Origin) -> IO[bytes]:
        self._owned = isinstance(origin, Path) or (isinstance(origin, str) and origin != "-")
        if not self._owned:
            return sys.stdin.buffer if isinstance(origin, str | Path) else origin
        file = Path(str(origin)).open("rb", buffering=0)  # noqa: SIM115  # close() closes it
        self.size = Path(str(origin)).stat().st_size or None  # a pipe has none
        return file

    def _reader(self, stream: io.BufferedReader) -> Callable[[int], bytes]:
        """What reads a line of at most so many bytes."""
        head = stream.peek(BUFFER)
        compressed = head[:2] == b"\x1f\x8b"
        # It has a buffer of its own; another one around it would lose what stands before an error.
        lines = gzip.GzipFile(fileobj=stream) if compressed else stream
        plain = self._form.line_wise
        returns = _ends_in_returns(_unpacked(head) if compressed else head, self._form.encoding)
        if plain and not returns:
            return lines.readline
        text = io.TextIOWrapper(
            lines, encoding="latin-1" if plain else self._form.encoding, newline="\r" if returns else "\n"
        )
        encoding = "latin-1" if plain else "utf-8"

        def readline(limit: int) -> bytes:
            line = text.readline(limit)
            if returns and line.endswith("\r"):
                line = f"{line[:-1]}\n"
            return line.encode(encoding, "surrogatepass")

        return readline

    def error(self, message: str, *, hint: str | None = None) -> FileError:
        """What is wrong with the file as a whole."""
        return FileError(self.name, message, hint=hint)

    def _failure(self, error: Exception) -> FileError:
        """What went wrong with the file, with its name and line."""
        place = self.line + 1 if self.line else None
        if isinstance(error, EOFError):
            hint = "get the whole file and import it again"
            return FileError(
                self.name, "the compressed data ends before its end; it was cut off", line=place, hint=hint
            )
        if isinstance(error, gzip.BadGzipFile | zlib.error):
            return FileError(self.name, f"the compressed data is damaged ({error})", line=place)
        if isinstance(error, UnicodeError):
            return FileError(self.name, f"is not {self._form.encoding}", line=place, hint="give the file's encoding")
        reason = getattr(error, "strerror", None) or str(error)
        return FileError(self.name, f"cannot be read: {reason.lower()}", line=place)


def _unpacked(head: bytes) -> bytes:
    """The beginning of compressed data, as far as it can be read. What is damaged is told where its line is read."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, BUFFER)
    except zlib.error:
        return b""


def _ends_in_returns(head: bytes, encoding: str) -> bool:
    """Whether the lines of a file end in carriage returns alone, as old programs on Macintosh write them."""
    text = head.decode(encoding, "ignore")
    return "\r" in text[:-1] and "\n" not in text  # the last one may be a half of CR LF


_FAILURES = (OSError, EOFError, zlib.error, UnicodeError)


class _Counted(io.RawIOBase):
    """A raw stream that counts what is read from it."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # Any: a writable buffer
        # read1 of a buffered file and read of a raw one answer with what is there: a pipe is not waited for until it is full.
        read: Callable[[int], bytes] = getattr(self._raw, "read1", self._raw.read)
        data = read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


def _name(origin: Origin) -> str:
    if isinstance(origin, str | Path):
        return "standard input" if str(origin) == "-" else str(origin)
    name = getattr(origin, "name", None)
    return name if isinstance(name, str) else "file"
