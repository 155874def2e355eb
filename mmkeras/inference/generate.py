"""generate: captions of images by a fitted Pipeline, or by a model of `build_captioner`."""

import os

import numpy as np
import tensorflow as tf

from mmkeras.data.columns import columns_of
from mmkeras.data.files import Files
from mmkeras.data.frames import as_frame, is_table
from mmkeras.decoding import Settings, generate_from_patches
from mmkeras.decoding.layer import compiled
from mmkeras.layers import DecodeImage
from mmkeras.models.captioner import grid_shape, vocabulary_of
from mmkeras.pipeline import Pipeline


def generate(model, images, vocabulary=None, *, batch_size=32, **settings):
    """Captions of images: encoded and decoded batch by batch in compiled graphs.

    Args:
        model: a `Pipeline` fitted for `Caption`, or a keras.Model from `build_captioner`.
        images: (N, H, W, 3) pixels from 0 to 255 of the model's image size; or a sequence of paths, or of the bytes of
            image files. One image alone is taken for a sequence of one. For a Pipeline a DataFrame with its columns, or
            paths or bytes when it reads one column of images.
        vocabulary: list of words that the model was trained with, from `layers.learn_vocabulary`; a Pipeline has its own.
        batch_size: int, images at a time.
        **settings: as in `decoding.decode`: method="greedy", "sample" or "beam", beam_width, temperature, top_k, top_p,
            length_penalty, max_length, min_length, seed, forbid_repeats, forbid_unknown.

    Returns:
        `Captions`.

    Raises:
        ValueError: no image, pixels of another size, a file that is no image, a vocabulary of another size than the
            model's, settings as in `decoding.decode`.
        FileNotFoundError: a path that leads to no file.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> vocabulary = mm.layers.learn_vocabulary(["a red dog", "a blue dog"])
        >>> model = mm.build_captioner(len(vocabulary), 16, image_encoder="scratch", weights=None, image_size=(32, 32))
        >>> captions = mm.generate(model, np.zeros((2, 32, 32, 3), "uint8"), vocabulary, method="beam", beam_width=2)
        >>> len(captions), captions.grid
        (2, (2, 2))
    """
    if isinstance(model, Pipeline):
        fitted, df = model.check_fitted(), _frame(model, images)
        run = fitted.trunk.runner(df, batch_size=_check_size(batch_size))
        return fitted.task.write(run, fitted.head, fitted.trunk.grid(), **settings)
    if vocabulary is None:
        raise ValueError(
            "`vocabulary` must be given with a keras.Model. Received: None. Give what it was trained with."
        )
    words = vocabulary_of(model, vocabulary)
    Settings(**settings).check_vocabulary_size(len(words))
    encoder = model.get_layer("encoder")
    read, count = _reader(images, encoder.input.shape[1:3])
    pixels = tf.TensorSpec((None, *encoder.input.shape[1:]), tf.float32)
    encode = compiled(encoder, "encode", lambda images: encoder(images, training=False), [pixels])
    starts = range(0, count, _check_size(batch_size))
    batches = (encode(tf.cast(read(slice(start, start + batch_size)), "float32")) for start in starts)
    return generate_from_patches(model.get_layer("decoder"), batches, words, grid=grid_shape(model), **settings)


def _frame(pipe, images):
    """Images as a DataFrame that the Pipeline reads."""
    import pandas as pd

    if is_table(images):
        return as_frame(images)
    columns = list(columns_of(pipe.modalities))
    if len(columns) != 1:
        raise ValueError(f"This Pipeline reads the columns {columns}. Received: no DataFrame. Give one.")
    images = [images] if isinstance(images, str | bytes | os.PathLike) else list(images)
    return pd.DataFrame({columns[0]: pd.Series(images, dtype=object)})


def _check_size(batch_size):
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"`batch_size` must be a positive int. Received: {batch_size!r}.")
    return batch_size


def _reader(images, size):
    """(function from a slice of the images to pixels, how many images there are)."""
    if isinstance(images, str | bytes | os.PathLike):
        images = [images]
    if hasattr(images, "shape") and len(images.shape) > 1:
        pixels = images[None] if len(images.shape) == 3 else images
        if tuple(pixels.shape[1:]) != (*size, 3):
            raise ValueError(
                f"`images` must be pixels of shape (N, {size[0]}, {size[1]}, 3), paths, or bytes of image files. "
                f"Received: shape {tuple(images.shape)}. Resize them, or give the files."
            )
        return lambda rows: pixels[rows], len(pixels)
    decode_image = DecodeImage(size)
    whole = tf.function(decode_image, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    cells = list(images)
    files = Files(cells, range(len(cells)), "images", lambda data: whole(tf.constant([data])))
    empty = [number for number, cell in enumerate(files.cells) if cell == b""]
    if empty:
        raise ValueError(
            f"Every image must be a path, or the bytes of a file. Received: nothing for image {empty[0]}; "
            f"{len(empty)} of {len(cells)} are empty. Leave them out."
        )
    return lambda rows: whole(tf.constant(np.asarray(files[rows]))), len(cells)
