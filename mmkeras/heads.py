"""The third stage: features of every modality → fusion → the task's output."""

import keras

from mmkeras.fusion import ConcatFusion, HybridFusion, LateFusion
from mmkeras.layers import MaskedMean

FUSIONS = ("concat", "late", "hybrid")
DECISIONS = "decisions"


def build_head(
    features, task, fusion="concat", units=512, dropout=0.5, target=None, modalities=None, normalise=(), whole=()
):
    """Features and presence masks → prediction, as one Functional model.

    "concat" joins the features and decides by one hidden layer; "late" lets each modality decide by a hidden layer of
    its own and takes a learned mean of the logits; "hybrid" does both: the joint decision, and a linear one of each
    modality, are trained by a loss each (see `training_head`), and the prediction is the mean of their logits.

    Args:
        features: {name: KerasTensor}, what `prepare` and `encode` give: "modality" (B, D) or (B, T, D), with
            "modality.present" (B, 1), and "modality.padding_mask" (B, T) for sequences.
        task: an adapted task.
        fusion: "concat", "late" or "hybrid".
        units: int, width of a hidden layer.
        dropout: float, share of the features, and of the hidden layer, left out in training.
        target: encoded training target for the output's starting bias, or None.
        modalities: names of the features to use; None takes all.
        normalise: names of the features to be brought to mean 0 and variance 1 by batch statistics.
        whole: names of the features of which training leaves nothing out, because they are few.

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
        used.append(x if name in whole else keras.layers.Dropout(dropout, name=f"{name}_drop")(x))

    def decide(x, number=0):
        x = keras.layers.Dense(units, activation="gelu", name=f"hidden_{number}")(x)
        x = keras.layers.Dropout(dropout, name=f"hidden_drop_{number}")(x)
        return task.logits(x, target, name=f"logits_{number}")

    if fusion == "concat":
        logits = decide(ConcatFusion(name="fusion")(used, presence))
    elif fusion == "hybrid":
        joint = decide(ConcatFusion(name="fusion")(used, presence))
        own = [task.logits(x, target, name=f"own_logits_{i}") for i, x in enumerate(used)]
        logits = keras.layers.GlobalAveragePooling1D(name="mean")(HybridFusion(name=DECISIONS)(joint, own, presence))
    else:
        logits = LateFusion(name="fusion")([decide(x, i) for i, x in enumerate(used)], presence)
    return keras.Model(inputs, {task.column: task.activate(logits)}, name="head")


def training_head(head, task):
    """A head as it trains.

    Args:
        head: what `build_head` gave.
        task: its task.

    Returns:
        For "hybrid", keras.Model to {task.column: (B, 1 + decisions, …)}: the prediction, then each decision by itself;
        other heads are returned as they are.
    """
    if DECISIONS not in {layer.name for layer in head.layers}:
        return head
    prediction = head.output[task.column][:, None]
    each = task.activate(head.get_layer(DECISIONS).output, name="each")
    return keras.Model(head.input, {task.column: keras.ops.concatenate([prediction, each], axis=1)}, name="trained")


def side_by_side(models, column):
    """Models of one target as one model, so that one pass over the rows trains them all.

    Args:
        models: list of Functional models to {column: (B, …) or (B, K, …)}, see `training_head`.
        column: the target column.

    Returns:
        keras.Model from all their inputs to {column: (B, all decisions, …)}.
    """
    inputs, decisions = {}, []
    for model in models:
        for key, tensor in model.input.items():
            if key not in inputs:
                inputs[key] = keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name)
        decision = model({key: inputs[key] for key in model.input})[column]
        decisions.append(decision if len(decision.shape) == 3 else decision[:, None])
    return keras.Model(inputs, {column: keras.ops.concatenate(decisions, axis=1)})
