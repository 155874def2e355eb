"""Where each word of a caption looked."""

import io

from mmkeras.data.telling import shortened
from mmkeras.evaluation.figures import label
from mmkeras.evaluation.pages import read_pixels
from mmkeras.persistence import write_bytes


def plot_attention(captions, number, image, path):
    """Write a PNG with the image, and beside it where each word of its caption looked.

    Args:
        captions: `Captions`, from `generate`, with a grid.
        number: int, which of them.
        image: path or bytes of that image file.
        path: the PNG file, written beside its place and renamed.

    Returns:
        pathlib.Path of the file.

    Raises:
        ValueError: captions of patches that form no grid, or fewer of them; an image that cannot be read.

    The picture is that of Xu et al., 2015, "Show, Attend and Tell", https://arxiv.org/abs/1502.03044.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> none = np.zeros((1, 2))
        >>> one = mm.Captions(["a dog"], none[:, 0], none, none, np.array([2]), np.ones((1, 2, 6)), grid=(2, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     photo = pathlib.Path(mm.samples.captions(1, 0, folder)["image"][0])
        ...     plot_attention(one, 0, photo, photo.with_name("attention.png")).name
        'attention.png'
    """
    from matplotlib.figure import Figure

    if not 0 <= number < len(captions.texts):
        raise ValueError(f"`number` must name one of the {len(captions.texts)} captions, from 0. Received: {number}.")
    if captions.grid is None:
        raise ValueError("`captions` must come from one grid of patches. Received: none. Use Image(..., pooling=None).")
    pixels = read_pixels(image)
    if pixels is None:
        raise ValueError(
            f"`image` must be an image file, or its bytes. Received: {shortened(image, 80)}. Check the path."
        )
    words = captions.maps(number)
    columns = min(5, len(words) + 1)
    lines = -(-(len(words) + 1) // columns)
    figure = Figure(figsize=(2.2 * columns, 2.4 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for place in axes:
        place.axis("off")
    axes[0].imshow(pixels)
    axes[0].set_title("image", fontsize=10)
    height, width = pixels.shape[:2]
    for place, (word, weights) in zip(axes[1:], words, strict=False):
        place.imshow(pixels)
        place.imshow(
            weights, cmap="magma", alpha=0.6, extent=(0, width, height, 0), interpolation="bicubic", vmin=0,
        )  # fmt: skip
        place.set_title(label(word), fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return write_bytes(path, buffer.getvalue())
