"""Layers of images: encoded bytes → pixels."""

import keras
import tensorflow as tf

PACKAGE = "mmkeras"
# More than any camera makes; a small file may claim 20,000 × 20,000 pixels and fill the memory when decoded.
MAX_PIXELS = 100_000_000


@keras.saving.register_keras_serializable(PACKAGE)
class DecodeImage(keras.layers.Layer):
    """Bytes of JPEG, PNG, GIF (first frame), BMP or WebP files → (B, H, W, 3) uint8 pixels.

    Grey, palette, CMYK, transparent and 16-bit images come out as 8-bit RGB (transparency is left out). A JPEG much
    larger than the target is decoded at a half, a quarter or an eighth of its size, never below the target. Then
    the image is stretched to the target with antialiased bilinear resizing. The EXIF orientation is not applied:
    pixels come as they are stored. An empty string gives zeros.

    Args:
        image_size: (H, W) ints.
        max_pixels: int; larger images are refused before they are decoded.

    Call arguments:
        images: (B,) strings.

    Raises:
        tf.errors.InvalidArgumentError: bytes that are no image, are cut short, or claim too many pixels.
    """

    def __init__(self, image_size=(224, 224), max_pixels=MAX_PIXELS, **kwargs):
        kwargs["dtype"] = "uint8"
        super().__init__(**kwargs)
        self.image_size = tuple(image_size)
        self.max_pixels = max_pixels

    def call(self, images):
        pixels = tf.TensorSpec((*self.image_size, 3), tf.uint8)
        return tf.map_fn(self._decode, tf.reshape(images, [-1]), fn_output_signature=pixels)

    def _decode(self, data):
        height, width = self.image_size

        def number(at, width, little):
            raw = tf.io.decode_raw(tf.strings.substr(data, at, width), tf.uint8)
            raw = tf.cast(raw if little else tf.reverse(raw, [0]), tf.int64)
            return tf.reduce_sum(raw * 256 ** tf.range(width, dtype=tf.int64))

        def checked(shape):
            most = tf.constant(self.max_pixels, tf.int64)
            rule = f"an image must have at most {self.max_pixels} pixels (height × width)"
            with tf.control_dependencies([tf.debugging.assert_less_equal(shape[0] * shape[1], most, rule)]):
                return tf.identity(data)

        def jpeg():
            shape = tf.cast(tf.io.extract_jpeg_shape(data), tf.int64)
            safe = checked(shape)
            ratio = tf.minimum(shape[0] // height, shape[1] // width)
            scale = tf.cast(ratio >= 2, tf.int32) + tf.cast(ratio >= 4, tf.int32) + tf.cast(ratio >= 8, tf.int32)
            by = [lambda r=r: tf.io.decode_jpeg(safe, 3, ratio=r, dct_method="INTEGER_ACCURATE") for r in (1, 2, 4, 8)]
            return tf.switch_case(scale, by)

        def other(shape):
            return tf.io.decode_image(checked(shape), 3, expand_animations=False)

        def webp():
            # The three kinds of WebP hold their size in different places: RFC 9649, sections 2.5 to 2.7.
            form = tf.strings.substr(data, 12, 4)
            packed = number(21, 4, True)
            shape = tf.case(
                [
                    (tf.equal(form, b"VP8X"), lambda: tf.stack([1 + number(27, 3, True), 1 + number(24, 3, True)])),
                    (tf.equal(form, b"VP8L"), lambda: 1 + tf.stack([packed // 2**14 % 2**14, packed % 2**14])),
                ],
                default=lambda: tf.stack([number(28, 2, True) % 2**14, number(26, 2, True) % 2**14]),
            )
            return tf.io.decode_webp(checked(shape), 3)[0]  # (frames, H, W, 3)

        def by_its_first_bytes():
            starts = [b"\x89PNG", b"GIF8", b"BM", b"RIFF"]
            found = [tf.equal(tf.strings.substr(data, 0, len(start)), start) for start in starts]
            empty = tf.equal(tf.strings.length(data), 0)
            kind = tf.argmax(tf.cast(tf.stack([empty, *found, True]), tf.int32))  # the first that holds
            readers = [
                lambda: tf.zeros((1, 1, 3), tf.uint8),
                lambda: other((number(20, 4, False), number(16, 4, False))),
                lambda: other((number(8, 2, True), number(6, 2, True))),
                lambda: other((number(22, 4, True), number(18, 4, True))),
                webp,
                lambda: tf.io.decode_image(data, 3, expand_animations=False),  # anything else, for it to refuse
            ]
            return tf.switch_case(tf.cast(kind, tf.int32), readers)

        # Most images are JPEGs: they take the short way.
        decoded = tf.cond(tf.equal(tf.strings.substr(data, 0, 3), b"\xff\xd8\xff"), jpeg, by_its_first_bytes)
        decoded = tf.ensure_shape(decoded, (None, None, 3))
        return tf.cast(tf.round(tf.image.resize(decoded, self.image_size, antialias=True)), tf.uint8)

    def compute_output_spec(self, images):
        return keras.KerasTensor((images.shape[0], *self.image_size, 3), "uint8")

    def get_config(self):
        return {**super().get_config(), "image_size": list(self.image_size), "max_pixels": self.max_pixels}
