"""A row of features as bytes: the values of its tensors in a fixed order, sequences cut to their length."""

import functools
import math
import zlib

import keras
import numpy as np
import tensorflow as tf

_CHECKED = b"crc1"  # before the checksum; values of versions 0.1 and 0.2 have neither


def layout_of(tower):
    """{tensor: {"dtype", "shape"}} of a tower's outputs, one row each, in a fixed order."""
    return {
        key: {"dtype": keras.backend.standardize_dtype(tensor.dtype), "shape": list(tensor.shape[1:])}
        for key, tensor in sorted(tower.output.items())
    }


def row_bytes(layout):
    """The bytes of one row; infinite where rows differ in length."""
    shapes = [spec["shape"] for spec in layout.values()]
    if any(None in shape for shape in shapes):
        return float("inf")
    sizes = [_item_bytes(spec["dtype"]) for spec in layout.values()]
    return sum(int(np.prod(shape)) * size for shape, size in zip(shapes, sizes, strict=True))


def pack(row, layout, length):
    """The bytes of one row: for each tensor in the layout's order its values, sequences cut to their length."""
    parts = []
    for name, spec in layout.items():
        value = row[name]
        if None in spec["shape"]:
            value = value[:length]
            parts.append(len(value).to_bytes(4, "little"))
        parts.append(np.ascontiguousarray(value).tobytes())
    return b"".join(parts)


def fits(data, layout):
    """Whether a packed row has the length that its layout says."""
    position = 0
    for spec in layout.values():
        shape = list(spec["shape"])
        if None in shape:
            shape[shape.index(None)] = int.from_bytes(data[position : position + 4], "little")
            position += 4
        position += math.prod(shape) * _item_bytes(spec["dtype"])
    return position == len(data)


@functools.cache
def _item_bytes(dtype):
    return np.dtype(tf.as_dtype(dtype).as_numpy_dtype).itemsize


def unpack(data, layout):
    """(tensor, array) of each tensor of a packed row."""
    position = 0
    for name, spec in layout.items():
        shape = list(spec["shape"])
        if None in shape:
            shape[shape.index(None)] = int.from_bytes(data[position : position + 4], "little")
            position += 4
        dtype = tf.as_dtype(spec["dtype"]).as_numpy_dtype
        count = int(np.prod(shape, dtype=np.int64))
        yield name, np.frombuffer(data, dtype, count, position).reshape(shape).copy()
        position += count * np.dtype(dtype).itemsize


def pad(arrays):
    """Rows as one array; sequences are padded with zeros to the longest."""
    longest = max((len(a) for a in arrays if a.ndim > 1), default=None)
    if longest is None or all(len(a) == longest for a in arrays):
        return np.stack(arrays)
    padded = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
    for target, array in zip(padded, arrays, strict=True):
        target[: len(array)] = array
    return padded


def sealed(key, value):
    """A value with its checksum."""
    return b"".join((value, _CHECKED, zlib.crc32(value, zlib.crc32(key)).to_bytes(4, "little")))


def unsealed(key, value):
    """A value without its checksum; None where that is wrong. Early versions wrote none, and are taken at their word."""
    if value[-8:-4] != _CHECKED:
        return value
    right = zlib.crc32(value[:-8], zlib.crc32(key)) == int.from_bytes(value[-4:], "little")
    return value[:-8] if right else None


def content(value):
    """A value without its checksum, which is not looked at."""
    return value[:-8] if value[-8:-4] == _CHECKED else value
