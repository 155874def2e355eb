"""Pictures beside what of them counted for an answer.

P = h · w patches of a grid.
"""

import numpy as np

from mmkeras.evaluation.pages import read_pixels
from mmkeras.fusion import Fusion
from mmkeras.graph import parents, submodel

SIDE = 224  # pixels
HEAT = np.array([230.0, 40.0, 20.0])


def looked_at(trunk, head, df):
    """(R, h, w) how much of each patch counted for each row; None where the fusion of a head does not tell it, or there is no grid.

    Args:
        trunk: `Trunk`. head: keras.Model. df: DataFrame.
    """
    fusion = next((layer for layer in head.layers if isinstance(layer, Fusion) and layer.name == "fusion"), None)
    grids = [grid for grid in (modality.grid(trunk.encode) for modality in trunk.modalities) if grid]
    if fusion is None or type(fusion).looked is Fusion.looked or len(grids) != 1 or not len(df):
        return None
    read = {str(place): tensor for place, tensor in enumerate(parents(fusion.output))}
    seen = trunk.outputs(submodel(head.input, read), df)
    weights = np.asarray(fusion.looked(*(seen[place] for place in read)))
    height, width = grids[0]
    return weights.reshape(len(df), height, width) if weights.shape[1] == height * width else None


def beside(picture, weights):
    """PNG bytes of a picture, and of the same with what counted in red; the picture as it is where it cannot be read.

    Args:
        picture: a path or bytes. weights: (h, w).
    """
    import tensorflow as tf

    pixels = read_pixels(picture, SIDE)
    if pixels is None or weights.max() <= 0:
        return picture
    least, most = weights.min(), weights.max()
    heat = tf.image.resize(
        ((weights - least) / max(most - least, 1e-9))[..., None], pixels.shape[:2], method="bilinear"
    ).numpy()
    shown = pixels * (1 - 0.75 * heat) * 0.8 + HEAT * 0.75 * heat * 0.8 + 0.2 * pixels.mean(axis=-1, keepdims=True)
    both = np.concatenate([pixels, np.clip(shown, 0, 255).astype("uint8")], axis=1)
    return tf.io.encode_png(both).numpy()
