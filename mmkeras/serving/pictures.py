"""How large pictures say that they are, before anything of them is decoded."""

import struct

import tensorflow as tf

MOST_BLOCKS = 10_000  # of a GIF file that are looked at


def pixels_of(data):
    """Height × width that a picture claims in its first bytes, as `layers.DecodeImage` reads them; 0 where they do not tell.

    Args:
        data: bytes of a file.

    Example:
        >>> pixels_of(tf.io.encode_png(tf.zeros((3, 5, 3), tf.uint8)).numpy()), pixels_of(b"none")
        (15, 0)
    """
    try:
        if data.startswith(b"\xff\xd8\xff"):
            height, width, _ = tf.io.extract_jpeg_shape(data).numpy().tolist()
        elif data.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">II", data, 16)
        elif data.startswith(b"BM"):
            width, height = struct.unpack_from("<Ii", data, 18)
        elif data.startswith(b"GIF8"):
            width, height = _gif(data)
        elif data.startswith(b"RIFF"):
            width, height = _webp(data)
        else:
            return 0
    except (struct.error, IndexError, tf.errors.OpError):  # cut short: the model's own decoder says so
        return 0
    return width * abs(height)


def _gif(data):
    """(width, height) of the screen and the first frame on it."""
    width, height = struct.unpack_from("<HH", data, 6)
    at = 13 + _table(data[10])
    for _ in range(MOST_BLOCKS):
        if data[at] != 0x21:
            left, top, wide, high = struct.unpack_from("<HHHH", data, at + 1)
            return max(width, left + wide), max(height, top + high)
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    return width, height


def _table(packed):
    """How many bytes a colour table takes."""
    return 3 * 2 ** (packed % 8 + 1) if packed >= 128 else 0


def _webp(data):
    """(width, height), which the three kinds of WebP hold in different places: RFC 9649, sections 2.5 to 2.7."""
    if data[12:16] == b"VP8X":
        return (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    if data[12:16] == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        return 1 + packed % 2**14, 1 + packed // 2**14 % 2**14
    return (size % 2**14 for size in struct.unpack_from("<HH", data, 26))
