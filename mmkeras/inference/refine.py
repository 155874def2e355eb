"""refine_captions: a fitted captioner learns on, toward the score that captions are judged by."""

from mmkeras.data.frames import as_frame, frame_if_rows
from mmkeras.trunk.training import Plan
from mmkeras.trunk.trunk import Rows


def refine_captions(
    pipe, df, *, validation_data=None, epochs=3, batch_size=128, learning_rate=1e-4, draws=5, seed=0, callbacks=(),
    verbose=1,
):  # fmt: skip
    """Let a Pipeline that was fitted for `Caption` learn on from captions that it draws itself, by their CIDEr-D.

    `fit` teaches the next word of captions by people. Here the model draws captions of each training image, and those become
    more likely that score better than the image's others: self-critical sequence training (Rennie et al., 2017,
    https://arxiv.org/abs/1612.00563), compared with the mean of the other draws (Luo, 2020, https://arxiv.org/abs/2003.09971).
    The head learns, and what trains with it from the start, such as embeddings; pretrained towers stay. A call that fails leaves the
    Pipeline as it was.

    Args:
        pipe: a fitted `Pipeline`.
        df: DataFrame, the training rows, with the modalities' columns and the captions.
        validation_data: DataFrame whose CIDEr-D is shown after each epoch, as "val_cider", or None.
        epochs: int, passes over the images.
        batch_size: int, people's captions that share a batch, as in `fit`.
        learning_rate: float, the peak, see `Pipeline.fit`.
        draws: int, captions drawn of each image.
        seed: int.
        callbacks: Keras callbacks.
        verbose: 0 silent, 1 progress bars, 2 a line per epoch.

    Returns:
        keras.callbacks.History, with the mean CIDEr-D of the drawn captions as "reward".

    Raises:
        ValueError: a Pipeline for another task; rows or settings that cannot work.

    Example:
        >>> import tempfile
        >>> import mmkeras as mm
        >>> df = mm.samples.captions(8, seed=0, directory=tempfile.mkdtemp())
        >>> image = mm.Image("image", encoder="scratch", image_size=(32, 32), pooling=None)
        >>> pipe = mm.Pipeline([image], mm.Caption("caption", sequence_length=20), width=16, heads=2)
        >>> history = pipe.fit(df, validation_data=False, epochs=1, verbose=0)
        >>> list(mm.refine_captions(pipe, df, epochs=1, draws=2, verbose=0).history)
        ['loss', 'reward']
    """
    fitted = pipe.check_fitted()
    task, modalities = fitted.task, fitted.trunk.modalities
    plan = Plan(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed, verbose=verbose)
    validation = frame_if_rows(validation_data, "validation_data")
    validation = None if validation is None else task.units(validation, modalities)
    df = task.units(as_frame(df), modalities)
    target = task.target(df)
    training = task.refining(fitted.head, target, draws, seed)
    callbacks = [*task.watch(fitted.predict, validation), *callbacks]
    learning = [fitted.head, *(layer for layer in fitted.trunk.encode.layers if layer.trainable)]
    before = [layer.get_weights() for layer in learning]
    try:
        return fitted.trunk.train(training, Rows(df, target), plan, callbacks=callbacks)
    except BaseException:  # an interruption, too
        for layer, weights in zip(learning, before, strict=True):
            layer.set_weights(weights)
        raise
