"""The elements of TensorFlow's variant tensors: optionals and lists, read from how TensorFlow serializes them."""

from __future__ import annotations

from typing import Any, List, Tuple

import numpy as np

#: Types of variants that TensorFlow serializes completely; of others it may write the name only.
_SERIALIZED = ("tensorflow::data::Optional", "tensorflow::TensorList")


def parsed(tf: Any, value: Any) -> Tuple[str, List[Any]]:
    """Return types and metadata, and the tensors, of each element of a tensor of optionals or lists.

    The list is empty for other variants. TensorFlow serializes the elements of a variant tensor as their lengths,
    followed by one message each.
    """
    proto = type(tf.make_tensor_proto(0)).FromString(tf.io.serialize_tensor(value).numpy())
    content, position = proto.tensor_content, 0
    lengths: List[int] = []
    for _ in range(int(np.prod(value.shape))):
        length, position = _varint(content, position)
        lengths.append(length)
    for length in lengths:
        proto.variant_val.add().ParseFromString(content[position : position + length])
        position += length
    parts = [_parts(tf, variant) for variant in proto.variant_val]
    types = [(variant.type_name, variant.metadata) for variant in proto.variant_val]
    return f"variants {list(value.shape)} {types} ", [] if None in parts else [part[2] for part in parts if part]


def _parts(tf: Any, variant: Any) -> List[Any] | None:
    """Return type, metadata and tensors of one variant; None if TensorFlow does not serialize all of it."""
    if variant.type_name not in _SERIALIZED:
        return None
    tensors: List[Any] = []
    for tensor in variant.tensors:
        inner = [_parts(tf, part) for part in tensor.variant_val]
        if None in inner:
            return None
        tensors.append(inner or tf.make_ndarray(tensor))
    return [variant.type_name, variant.metadata, tensors]


def _varint(content: bytes, position: int) -> Tuple[int, int]:
    """Read an integer of seven bits a byte; return it, and the position after it."""
    value = shift = 0
    while True:
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004 - the top bit says that another byte follows
            return value, position
