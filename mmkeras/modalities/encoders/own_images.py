"""Images through a `keras.Model` of one's own, from a file."""

import os

import keras

from mmkeras.graph import check_file, with_policy
from mmkeras.modalities.encoders.base import ImageEncoder


class OwnImage(ImageEncoder):
    """The path of a `.keras` file: a model from pixels in 0 to 255, (B, H, W, 3), to (B, D) or a grid of features (B, h, w, D)."""

    pretrained = tells_size = True

    @classmethod
    def reads(cls, encoder):
        return encoder.endswith(".keras")

    def check(self):
        if self.modality.weights != "imagenet":  # what stands there when it is left out
            raise ValueError(
                f"`weights` of a model of one's own are in its file. Received: {self.modality.weights!r}. Leave it out."
            )

    @property
    def usual_size(self):
        height, width = load_model(self.modality.encoder).inputs[0].shape[1:3]
        return super().usual_size if height is None or width is None else (height, width)

    def tower(self):
        settings, size = self.modality, self.image_size
        model = load_model(settings.encoder)
        takes = model.inputs[0].shape[1:3]
        if any(known not in (None, side) for known, side in zip(takes, size, strict=True)):
            raise ValueError(
                f"`image_size` must be {tuple(takes)} for {settings.encoder!r}. Received: {size}. Leave it out."
            )
        pixels = keras.Input((*size, 3))
        features = model(pixels)
        rank = len(features.shape)
        if not (rank == 4 or (rank == 2 and settings.pooling is not None)):
            wanted = "(B, h, w, D)" if settings.pooling is None else "(B, D) or (B, h, w, D)"
            raise ValueError(
                f"A model of one's own must give {wanted} for `pooling={settings.pooling!r}`. Received: {settings.encoder!r}, which "
                f"gives {tuple(features.shape)}. Cut it there, or choose another `pooling`."
            )
        if rank == 4 and settings.pooling is not None:
            features = (keras.ops.mean if settings.pooling == "avg" else keras.ops.max)(features, axis=(1, 2))
        tower = keras.Model(pixels, features)
        return tower if settings.dtype is None else with_policy(tower, settings.dtype)


def open_model(path):
    """A `.keras` file's model, without code of others.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that Keras refuses to load safely, or that is not as Keras writes it, see `check_file`.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"`encoder` names a file that does not exist. Received: {path!r}. Check the path.")
    try:
        check_file(path)
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if ". Do not use it" in said:  # of a check, whose rule is about stages
            said = said.partition("Received: ")[2].partition(". Do not use it")[0]
        raise ValueError(
            "`encoder` must be a file as Keras writes it, with all that it needs inside, which loads without running code of the file, so "
            f"no Lambda. Received: {path!r}, which failed with: {said[:300]}. Save it without such layers; import the modules that "
            "register its own; use no file of somebody whom you do not trust."
        ) from error


def load_model(path):
    """A `.keras` file's model of images, see `open_model`.

    Raises:
        FileNotFoundError, ValueError: see `open_model`; a model of something else.
    """
    model = open_model(path)
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3 or len(model.outputs) != 1:
        raise ValueError(
            f"`encoder` of `Image` must take pixels (B, H, W, 3) and give one tensor. Received: {path!r}, which takes {shapes} and "
            f"gives {len(model.outputs)}. Give a model of images."
        )
    return model
