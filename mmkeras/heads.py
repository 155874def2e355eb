"""The third stage: features of every modality → fusion → the task's output."""

import keras

from mmkeras.fusion import ConcatFusion, LateFusion
from mmkeras.layers import MaskedMean

FUSIONS = ("concat", "late")


def build_head(features, task, fusion="concat", units=512, dropout=0.5, target=None, modalities=None, normalise=()):
    """Features and presence masks → prediction, as one Functional model.

    "concat" joins the features and decides by one hidden layer; "late" lets each modality decide by a hidden layer of
    its own and takes a learned mean of the logits.

    Args:
        features: {name: KerasTensor}, what `prepare` and `encode` give: "modality" (B, D) or (B, T, D), with
            "modality.present" (B, 1), and "modality.padding_mask" (B, T) for sequences.
        task: an adapted task.
        fusion: "concat" or "late".
        units: int, width of a hidden layer.
        dropout: float, share of the features, and of the hidden layer, left out in training.
        target: encoded training target for the output's starting bias, or None.
        modalities: names of the features to use; None takes all.
        normalise: names of the features to be brought to mean 0 and variance 1 by batch statistics.

    Returns:
        keras.Model from the used features to {task.column: prediction}.

    Raises:
        ValueError: unknown fusion, or `units` or `dropout` outside its range.

    Example:
        >>> import keras, mmkeras as mm
        >>> features = {"text": keras.Input((8,)), "text.present": keras.Input((1,))}
        >>> head = mm.build_head(features, mm.MultiClass("label", classes=["a", "b"]))
        >>> head.output["label"].shape
        (None, 2)
    """
    if fusion not in FUSIONS:
        raise ValueError(f"`fusion` must be one of {FUSIONS}. Received: {fusion!r}.")
    if not isinstance(units, int) or units < 1:
        raise ValueError(f"`units` must be a positive int. Received: {units!r}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must lie in [0, 1). Received: {dropout!r}.")
    inputs, used, presence = {}, [], []

    def take(key):
        tensor = features[key]
        inputs[key] = keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key)
        return inputs[key]

    for name in modalities or [key for key in features if "." not in key and f"{key}.present" in features]:
        x = take(name)
        presence.append(take(f"{name}.present"))
        if len(x.shape) == 3:
            x = MaskedMean(name=f"{name}_mean")(x, take(f"{name}.padding_mask"))
        if name in normalise:
            # A short memory: heads see few steps, and their moving averages must have converged by then.
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_normalise")(x)
        used.append(keras.layers.Dropout(dropout, name=f"{name}_drop")(x))

    def decide(x, number=0):
        x = keras.layers.Dense(units, activation="gelu", name=f"hidden_{number}")(x)
        x = keras.layers.Dropout(dropout, name=f"hidden_drop_{number}")(x)
        return task.logits(x, target, name=f"logits_{number}")

    if fusion == "concat":
        logits = decide(ConcatFusion(name="fusion")(used, presence))
    else:
        logits = LateFusion(name="fusion")([decide(x, i) for i, x in enumerate(used)], presence)
    return keras.Model(inputs, {task.column: task.activate(logits)}, name="head")
