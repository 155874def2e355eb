"""Images through a network of keras.applications."""

import difflib
import inspect
import pathlib
import warnings

import keras

from mmkeras.graph import with_policy
from mmkeras.modalities.encoders.base import ImageEncoder


class Application(ImageEncoder):
    """What `Image` takes an `encoder` for that no other encoder reads."""

    pretrained = True

    def check(self):
        application(self.modality.encoder)

    def tower(self):
        settings = self.modality
        build, preprocess = application(settings.encoder)
        form = {"input_shape": (*self.image_size, 3), "pooling": settings.pooling}
        bare = build(include_top=False, weights=None, **form)
        load_weights(bare, build, encoder=settings.encoder, weights=settings.weights, form=form)
        pixels = keras.Input((*self.image_size, 3))
        tower = keras.Model(pixels, bare(preprocess(pixels)))
        return tower if settings.dtype is None else with_policy(tower, settings.dtype)


def application(name):
    """(builder, preprocess_input) of a network of keras.applications.

    Raises:
        ValueError: no such network.
    """
    builders = {n: build for n, build in inspect.getmembers(keras.applications, inspect.isfunction) if n[:1].isupper()}
    if name in builders:  # some, as MobileNetV3Small, are not in the module of their `preprocess_input`
        module = builders[name].__module__.rpartition(".")[2]
        return builders[name], getattr(keras.applications, module).preprocess_input
    near = difflib.get_close_matches(name, builders, 1)
    raise ValueError(
        "`encoder` of `Image` must be 'scratch', a network of keras.applications, a KerasHub preset, handle or directory, or a .keras "
        f"file. Received: {name!r}. "
        + (f"Did you mean {near[0]!r}?" if near else f"Use one of {', '.join(sorted(builders))}.")
    )


def load_weights(bare, build, *, encoder, weights, form):
    """Give a network its weights: "imagenet", None for none, or a file's, with or without the classification top.

    Args:
        bare: the network without its top.
        build: the builder of the network.
        encoder: its name, for messages.
        weights: see above.
        form: {"input_shape", "pooling"} of `bare`.

    Raises:
        FileNotFoundError, ValueError: weights that cannot be had, or do not fit.
    """
    if weights is None:
        return
    if weights == "imagenet":
        try:
            source = build(include_top=False, weights="imagenet", **form)
        except Exception as error:  # Keras has no kind of its own for a failed download
            raise ValueError(
                f"`weights='imagenet'` needs to download the weights of {encoder} once. Received: {error}. "
                "Check the connection, or give a file of weights, or None for random ones."
            ) from error
        bare.set_weights(source.get_weights())
        return
    if not pathlib.Path(weights).is_file():
        raise FileNotFoundError(
            f"`weights` must be 'imagenet', None, or a file of weights. Received: {weights!r}, which does not exist. "
            "Check the path."
        )
    try:
        _load_all(bare, weights)
        return
    except Exception:  # perhaps it holds the classification layer too
        whole = build(include_top=True, weights=None)
    try:
        _load_all(whole, weights)
        bare.set_weights(whole.get_weights()[: len(bare.weights)])
    except Exception as error:
        raise ValueError(
            f"`weights` must fit {encoder}, with or without its top. Received: {weights!r}, which does not: "
            f"{str(error).splitlines()[0][:200]}. Save them with `save_weights` of that network."
        ) from error


def _load_all(network, path):
    """Load weights, and refuse a file that holds only some of them, of which Keras merely warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.load_weights(path)
