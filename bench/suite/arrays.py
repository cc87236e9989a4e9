"""NumPy arrays whose bytes are exactly what they stand for, so that equal bytes mean equal values and the reverse."""

from __future__ import annotations

import hashlib
from typing import Any, Sequence, Tuple

import numpy as np

Array = np.ndarray[Any, Any]

#: Bytes of a long double that hold its value; the remaining bytes are padding. Other formats have none.
_LONG_DOUBLE_BYTES = 10 if np.finfo(np.longdouble).nmant == 63 else np.dtype(np.longdouble).itemsize  # noqa: PLR2004
#: A text of more bytes is represented by its beginning and its SHA-256.
_MAX_TEXT = 256
_BEGINNING = 128
#: Widths of text arrays are multiples of this, so that most texts of different lengths can be compared bytewise.
_WIDTH = 32


def native_copy(array: Array) -> Array:
    """Copy an array to contiguous memory in native byte order, with zeros in the padding of long doubles.

    It is copied even if it is contiguous, because the kernel's next call may overwrite it.
    """
    copy = np.array(array, dtype=array.dtype.newbyteorder("=") if not array.dtype.isnative else None, order="C")
    if copy.dtype.type in (np.longdouble, np.clongdouble) and copy.size:
        data = copy.reshape(-1).view(np.uint8).reshape(-1, np.dtype(np.longdouble).itemsize)
        data[:, _LONG_DOUBLE_BYTES:] = 0
    return copy


def text_array(texts: Sequence[Any], shape: Tuple[int, ...]) -> Array:
    """Return texts (``str`` or bytes) as an array of bytes of one width.

    Each text ends with a mark, which keeps NUL bytes at its end and tells ``str`` from bytes.
    """
    encoded = [_marked(text) for text in texts]
    width = max((len(text) for text in encoded), default=1)
    return np.array(encoded, dtype=f"S{-(-width // _WIDTH) * _WIDTH}").reshape(shape)


def text_of(element: bytes) -> str:
    """Return an element of a text array as text to show."""
    return repr(element[:-1].decode("utf-8", "replace"))


def _marked(text: Any) -> bytes:
    data, mark = (text.encode("utf-8", "surrogatepass"), b"\1") if isinstance(text, str) else (bytes(text), b"\2")
    if len(data) <= _MAX_TEXT:
        return data + mark
    # a mark of its own, so that no short text imitates it
    return data[:_BEGINNING] + hashlib.sha256(data).hexdigest().encode() + (b"\3" if mark == b"\1" else b"\4")
