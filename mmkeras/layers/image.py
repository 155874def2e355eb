"""Layers of images: encoded bytes → pixels."""

import functools

import keras
import tensorflow as tf

from mmkeras.layers.once import traced_once
from mmkeras.layers.parsing import bytes_of, first_bytes, head_of, length_of, number_at, refuse_unless

PACKAGE = "mmkeras"
# More than any camera makes; a small file may claim 20,000 × 20,000 pixels and fill the memory when decoded.
MAX_PIXELS = 100_000_000
MAX_SCANS = 32  # of a JPEG, each of which passes over all pixels; encoders make 1 to 20
LARGEST_SCANS = 12  # of a JPEG with `MAX_PIXELS`; with more it must be so much smaller
MAX_BLOCKS = 10_000  # of a GIF, up to the end of its first frame; 64 full ones that follow each other count as one
# Bits that mean something in any picture: behind the end of a whole one they are not read.
BITS = bytes(range(64, 128))
# The palette of a BMP file whose pixels are what they say: blue, green, red and a zero for each level of grey.
GREY_PALETTE = b"".join(bytes([level, level, level, 0]) for level in range(256))


@keras.saving.register_keras_serializable(PACKAGE)
class DecodeImage(keras.layers.Layer):
    """Bytes of JPEG, PNG, GIF (first frame), BMP or WebP files → (B, H, W, 3) uint8 pixels, or (B, K, H, W, 3) of K files in a row.

    Grey, palette, CMYK, transparent and 16-bit images come out as 8-bit RGB (transparency is left out). A JPEG much
    larger than the target is decoded at a half, a quarter or an eighth of its size, never below the target. Then
    the image is stretched to the target with antialiased bilinear resizing. The EXIF orientation is not applied:
    pixels come as they are stored. An empty string gives zeros.

    Other formats are refused, and so are animated WebP files and BMP files that are compressed or have a palette of
    colours. A JPEG whose data ends early is refused also where an end marker was put behind it, if the last of its pixels
    are grey for it; in the later scans of a progressive one this cannot be seen.

    Args:
        image_size: (H, W) ints.
        max_pixels, max_scans, max_blocks: ints, see `MAX_PIXELS`, `MAX_SCANS` of JPEG and `MAX_BLOCKS` of GIF files; images with
            more are refused before they are decoded. A JPEG of more than 12 scans may have 12 × max_pixels / scans pixels.

    Call arguments:
        images: (B,) strings, or (B, K).

    Raises:
        tf.errors.InvalidArgumentError: bytes that are no image, are cut short, or beyond a limit.

    Example:
        >>> import numpy as np
        >>> import tensorflow as tf
        >>> import mmkeras as mm
        >>> file = tf.io.encode_png(np.full((30, 40, 3), 200, "uint8"))
        >>> mm.layers.DecodeImage((8, 8))(tf.stack([file, ""])).numpy()[:, 0, 0, 0].tolist()
        [200, 0]
    """

    def __init__(
        self, image_size=(224, 224), max_pixels=MAX_PIXELS, max_scans=MAX_SCANS, *, max_blocks=MAX_BLOCKS, **kwargs
    ):
        kwargs["dtype"] = "uint8"
        super().__init__(**kwargs)
        self.image_size = tuple(image_size)
        self.max_pixels, self.max_scans, self.max_blocks = max_pixels, max_scans, max_blocks

    def call(self, images):
        pixels = tf.TensorSpec((*self.image_size, 3), tf.uint8)
        decode = _traced(self.image_size, self.max_pixels, self.max_scans, self.max_blocks)
        decoded = tf.map_fn(decode, tf.reshape(images, [-1]), fn_output_signature=pixels)
        if images.shape.rank != 2:
            return decoded
        return tf.reshape(decoded, tf.concat([tf.shape(images), pixels.shape], axis=0))

    def _pixels(self, data):
        """(h, w, 3) uint8 pixels of an image, of its own size or less, but no less than the target."""
        # Most images are JPEGs: they take the short way.
        is_jpeg = tf.equal(tf.strings.substr(data, 0, 3), b"\xff\xd8\xff")
        decoded = tf.cond(is_jpeg, lambda: self._jpeg(data), lambda: self._by_first_bytes(data))
        return tf.ensure_shape(decoded, (None, None, 3))

    def _decode(self, data):
        decoded = self._pixels(data)
        return tf.cast(tf.round(tf.image.resize(decoded, self.image_size, antialias=True)), tf.uint8)

    def _sized(self, data, height, width, scans=1):
        """`data`, refused when its image has too many pixels for its scans."""
        most = LARGEST_SCANS * self.max_pixels // tf.maximum(tf.cast(scans, tf.int64), LARGEST_SCANS)
        received = [" pixels (height × width). Received: ", height, " × ", width, ". Scale it down first."]
        return refuse_unless(height * width <= most, data, "An image must have at most ", most, *received)

    def _jpeg(self, data):
        shape = tf.cast(tf.io.extract_jpeg_shape(data), tf.int64)
        scans = tf.size(tf.raw_ops.StringSplitV2(input=[data], sep=b"\xff\xda").values) - 1
        rule = f"A JPEG must have at most {self.max_scans} scans."
        safe = refuse_unless(scans <= self.max_scans, data, rule, " Received: ", scans, ". Save it anew.")
        safe = self._sized(safe, shape[0], shape[1], scans)
        ratio = tf.minimum(shape[0] // self.image_size[0], shape[1] // self.image_size[1])
        scale = tf.cast(ratio >= 2, tf.int32) + tf.cast(ratio >= 4, tf.int32) + tf.cast(ratio >= 8, tf.int32)
        pixels = _jpeg_pixels(safe, scale)
        # The decoder fills what is missing with this grey.
        doubtful = tf.reduce_all(pixels[-1, -1] == 128) & (tf.strings.substr(safe, -2, 2) == b"\xff\xd9")
        return tf.cond(doubtful, lambda: _whole(safe, scale, pixels), lambda: pixels)

    def _by_first_bytes(self, data):
        # Sizes are read at fixed places, so what holds them must come first in the file.
        start = tf.strings.substr(tf.strings.join([tf.strings.substr(data, 0, 16), b"\0" * 16]), 0, 16)
        webp = tf.strings.join([tf.strings.substr(start, 0, 4), tf.strings.substr(start, 8, 8)])
        png = tf.strings.join([tf.strings.substr(start, 0, 8), tf.strings.substr(start, 12, 4)])
        formats = [
            tf.equal(tf.strings.length(data), 0),
            tf.equal(png, b"\x89PNG\r\n\x1a\nIHDR"),
            tf.equal(tf.strings.substr(start, 0, 4), b"GIF8"),
            tf.equal(tf.strings.substr(start, 0, 2), b"BM"),
            tf.reduce_any(tf.equal(webp, [b"RIFFWEBPVP8 ", b"RIFFWEBPVP8L", b"RIFFWEBPVP8X"])),
        ]
        kind = tf.argmax(tf.cast(tf.stack([*formats, True]), tf.int32), output_type=tf.int32)  # the first that holds
        # Apart, or the graph would pass over all their operations for each JPEG.
        settings = {"autograph": False, "experimental_attributes": {"_noinline": True}}
        gif, bmp, unknown = (tf.function(read, **settings) for read in (self._gif, self._bmp, self._unknown))
        readers = [self._absent, self._png, gif, bmp, self._webp, unknown]
        return tf.switch_case(kind, [lambda read=read: read(data) for read in readers])

    def _absent(self, data):
        return tf.zeros((1, 1, 3), tf.uint8)

    def _unknown(self, data):
        rule = "An image must be a JPEG, PNG, GIF, BMP or WebP file. Received: bytes that start with "
        with tf.control_dependencies(
            [refuse_unless(tf.constant(False), data, rule, first_bytes(data), ". Convert it first.")]
        ):
            return self._absent(data)

    def _png(self, data):
        head = head_of(data)
        safe = self._sized(data, number_at(head, 20, 4, big=True), number_at(head, 16, 4, big=True))
        return tf.io.decode_image(safe, 3, expand_animations=False)

    def _webp(self, data):
        # The three kinds of WebP hold their size in different places: RFC 9649, sections 2.5 to 2.7.
        head = head_of(data)
        form = tf.strings.substr(data, 12, 4)
        packed = number_at(head, 21, 4)
        height, width = tf.case(
            [
                (tf.equal(form, b"VP8X"), lambda: (1 + number_at(head, 27, 3), 1 + number_at(head, 24, 3))),
                (tf.equal(form, b"VP8L"), lambda: (1 + packed // 2**14 % 2**14, 1 + packed % 2**14)),
            ],
            default=lambda: (number_at(head, 28, 2) % 2**14, number_at(head, 26, 2) % 2**14),
        )
        still = tf.logical_or(tf.not_equal(form, b"VP8X"), number_at(head, 20, 1) // 2 % 2 == 0)
        rule = "A WebP image must be a still one. Received: an animated one. Save its first frame alone, or as a GIF."
        safe = self._sized(refuse_unless(still, data, rule), height, width)
        return tf.io.decode_webp(safe, 3)[0]  # (frames, H, W, 3)

    def _gif(self, data):
        """The first frame on its screen; the others, and what is not needed to draw it, are not even decoded."""
        raw = bytes_of(data, 2048)  # zeros behind the end, where tables and blocks of a cut file would lie

        def byte(at):
            return tf.cast(tf.gather(raw, at), tf.int64)

        def table(at):
            """How many bytes a colour table takes, of which the byte at `at` tells the size."""
            return tf.where(byte(at) >= 128, 3 * 2 ** (byte(at) % 8 + 1), 0)

        def behind(at, rest):
            """(the end of a chain of blocks, each with its size before it, from `at` to one of size 0; how many more there may be)."""

            def step(at, size, rest):
                # Most blocks are of 255 bytes: as many of them as follow each other are one step.
                full = tf.reduce_sum(tf.math.cumprod(tf.cast(raw[at : at + 2**14 : 256] == 255, tf.int64)))
                at = at + tf.maximum(256 * full, 1 + size)
                return at, byte(at), rest - 1

            at, _, rest = tf.while_loop(lambda at, size, rest: (size > 0) & (rest > 0), step, (at, byte(at), rest))
            return at + 1, rest - 1

        def extension(at, control, rest):
            first = tf.logical_and(byte(at + 1) == 0xF9, control == 0)  # it tells which colour is transparent
            end, rest = behind(at + 2, rest)
            return end, tf.where(first, at, control), rest

        zero, most = tf.constant(0, tf.int64), tf.constant(self.max_blocks, tf.int64)
        head = 13 + table(zero + 10)
        is_extension = lambda at, control, rest: (byte(at) == 0x21) & (rest > 0)  # noqa: E731
        at, control, rest = tf.while_loop(is_extension, extension, (head, zero, most))
        end, rest = behind(at + 11 + table(at + 9), rest)
        rule = f"A GIF must have at most {self.max_blocks} blocks up to the end of its first frame."
        data = refuse_unless(rest >= 0, data, rule, " Received: more. Save it anew.")
        left, top, width, height = (number_at(raw, at + i, 2) for i in (1, 3, 5, 7))
        whole_width = tf.maximum(number_at(raw, 6, 2), left + width)
        whole_height = tf.maximum(number_at(raw, 8, 2), top + height)
        safe = self._sized(data, whole_height, whole_width)

        def cut(start, stop):
            return tf.strings.substr(safe, tf.minimum(start, length_of(safe)), stop - start)

        first_frame = [
            cut(zero, head),
            tf.cond(control > 0, lambda: tf.strings.join([cut(control, control + 7), b"\0"]), lambda: b""),
            cut(at, at + 1),
            b"\0\0\0\0",  # left and top
            cut(at + 5, end),
            b";",
        ]
        frame = tf.io.decode_image(tf.strings.join(first_frame), 3, expand_animations=False)
        return tf.pad(frame, [[top, whole_height - top - height], [left, whole_width - left - width], [0, 0]])

    def _bmp(self, data):
        head, length = head_of(data), length_of(data)
        start, size, bits, packing = (number_at(head, *place) for place in ((10, 4), (14, 4), (28, 2), (30, 4)))
        width, height = number_at(head, 18, 4), number_at(head, 22, 4)
        height = tf.where(height < 2**31, height, 2**32 - height)  # negative where the first row is the top one
        data = self._sized(data, height, width)
        palette = tf.strings.substr(data, tf.minimum(14 + size, length), tf.maximum(start - size - 14, 0))
        grey = tf.equal(palette, tf.strings.substr(GREY_PALETTE, 0, tf.strings.length(palette)))
        plain = ((bits == 24) | (bits == 32) | (bits == 8) & grey) & ((packing == 0) | (bits == 32) & (packing == 3))
        rule = "A BMP image must hold 24 or 32 bits per pixel, or 8 of plain grey, uncompressed. Received: "
        colours = tf.strings.length(palette) // 4
        received = [bits, " bits, a palette of ", colours, " colours, compression ", packing, ", a header of ", size]
        data = refuse_unless(plain & (size >= 40), data, rule, *received, " bytes. Save it as PNG.")
        return tf.io.decode_image(data, 3, expand_animations=False)

    def compute_output_spec(self, images):
        return keras.KerasTensor((*images.shape[:2], *self.image_size, 3), "uint8")

    def get_config(self):
        config = {**super().get_config(), "image_size": list(self.image_size), "max_pixels": self.max_pixels}
        # Only others than the usual ones, so that features keep the keys that they had before there were these limits.
        usual = {"max_scans": MAX_SCANS, "max_blocks": MAX_BLOCKS}
        return {**config, **{name: getattr(self, name) for name in usual if getattr(self, name) != usual[name]}}


@functools.lru_cache(64)
def _traced(image_size, max_pixels, max_scans, max_blocks):
    """The reader of one image."""
    return traced_once(DecodeImage(image_size, max_pixels, max_scans, max_blocks=max_blocks)._decode, shape=())


@functools.lru_cache(8)
def _traced_pixels(least):
    return traced_once(DecodeImage((least, least))._pixels, shape=())


def picture_pixels(data, least=1 << 30):
    """(h, w, 3) uint8 pixels of an image in its own proportions, within the limits of `DecodeImage`.

    Args:
        data: bytes of a file.
        least: int; a JPEG may come out smaller than it is, but with no side shorter than this.

    Raises:
        tf.errors.InvalidArgumentError: as `DecodeImage` does.
    """
    return _traced_pixels(least)(tf.constant(data)).numpy()


def _jpeg_pixels(data, scale):
    by = [lambda r=r: tf.io.decode_jpeg(data, 3, ratio=r, dct_method="INTEGER_ACCURATE") for r in (1, 2, 4, 8)]
    return tf.switch_case(scale, by)


@tf.function(autograph=False, experimental_attributes={"_noinline": True})
def _whole(data, scale, pixels):
    """The pixels of a JPEG, refused when further bits before its end marker would have changed them."""
    longer = tf.strings.join([tf.strings.substr(data, 0, tf.strings.length(data) - 2), BITS, b"\xff\xd9"])
    same = tf.reduce_all(_jpeg_pixels(longer, scale) == pixels)
    rule = "A JPEG must be whole. Received: one whose data ends before its pixels do, ahead of an end marker. "
    return refuse_unless(same, pixels, rule, "Copy it again.")
