"""The third stage: features of every modality → fusion → the task's output."""

import difflib

import keras

from mmkeras.fusion import (
    BilinearFusion,
    ConcatFusion,
    CrossAttentionFusion,
    EarlyFusion,
    GatedFusion,
    HybridFusion,
    LateFusion,
    ModalityDropout,
    NormalizePresent,
)
from mmkeras.heads.inputs import HeadInputs, modality_names
from mmkeras.layers import MaskedMean

FUSIONS = ("concat", "early", "late", "hybrid", "gated", "bilinear", "cross_attention")


def check_fusion(name):
    """Raise a ValueError unless there is such a fusion."""
    if name not in FUSIONS:
        near = difflib.get_close_matches(str(name), FUSIONS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"`fusion` must be one of {FUSIONS}. Received: {name!r}.{hint}")


DECISIONS = "decisions"
DROPOUT = 0.5
# A short memory of statistics: heads see few steps, and their moving averages must have converged by then.
MOMENTUM = 0.9


def build_head(
    features, task, fusion="concat", units=512, dropout=DROPOUT, target=None, modalities=None, normalise=(), whole=(), *,
    depth=1, modality_dropout=0.0, attention_heads=4,
):  # fmt: skip
    """Features and presence masks → prediction, as one Functional model.

    How the modalities are joined:
        - "concat": features side by side, each normalised by itself, a learned vector in place of an absent one;
        - "early": raw features and presence flags side by side, then normalised together;
        - "gated": a sum that each row weighs unit by unit;
        - "bilinear": a product, which tells whether modalities agree;
        - "cross_attention": tokens attend to the tokens and patches of the other modalities; at least two modalities must
          give sequences (`pooling=None`), and modalities that give vectors join afterwards;
        - "late": each modality decides by a hidden layer of its own; a learned mean of the logits;
        - "hybrid": the joint decision of "concat", and a linear one of each modality, trained by a loss each (see
          `training_head`); a learned mean of the logits.
    After all but the last two come `depth` hidden layers. With one modality, every fusion is "concat".

    Args:
        features: {name: KerasTensor}, what `prepare` and `encode` give: "modality" (B, D) or (B, T, D), with
            "modality.present" (B, 1); for sequences with padding "modality.padding_mask" (B, T), or for those of N equal
            parts "modality.each_present" (B, N).
        task: an adapted task.
        fusion: one of the above.
        units: int, width of a hidden layer, and of what "gated", "bilinear" and "cross_attention" join.
        dropout: float, share of the features, and of the hidden layer, left out in training; or {modality: share}, in which
            the others, and the hidden layer, keep 0.5. Wide features that few rows have overfit less at 0.9.
        target: encoded training target for the output's starting bias, or None.
        modalities: names of the features to use; None takes all.
        normalise: names of the features to be brought to mean 0 and variance 1 by statistics of the rows that have them.
        whole: names of the features of which training leaves nothing out, because they are few.
        depth: int, how many hidden layers come before each decision but the linear ones.
        modality_dropout: float, the chance that training leaves out a whole modality of a row, see `ModalityDropout`.
        attention_heads: int, heads of "cross_attention"; must divide `units`.

    Returns:
        keras.Model from the used features to {task.column: prediction}.

    Raises:
        ValueError: unknown fusion; `units`, `depth` or `dropout` outside its range; "cross_attention" without two sequences.

    Example:
        >>> import keras, mmkeras as mm
        >>> features = {"text": keras.Input((8,)), "text.present": keras.Input((1,))}
        >>> head = mm.build_head(features, mm.MultiClass("label", classes=["a", "b"]))
        >>> head.output["label"].shape
        (None, 2)
    """
    check_fusion(fusion)
    for name, value in (("units", units), ("depth", depth)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a positive int. Received: {value!r}.")
    given = modality_names(features)
    names = modalities or given
    shares = dict.fromkeys(given, dropout)
    if isinstance(dropout, dict):
        shares, dropout = {**dict.fromkeys(given, DROPOUT), **dropout}, DROPOUT
        if set(shares) != set(given):
            raise ValueError(
                f"`dropout` must name modalities of {given}. Received: {sorted(set(shares) - set(given))}."
            )
    for share in shares.values():
        if not 0 <= share < 1:
            raise ValueError(f"`dropout` must lie in [0, 1). Received: {share!r}.")
    if len(names) == 1:
        fusion = "concat"
    attend = [name for name in names if len(features[name].shape) == 3] if fusion == "cross_attention" else []
    if fusion == "cross_attention" and len(attend) < 2:
        raise ValueError(
            "fusion='cross_attention' needs two modalities that give sequences (B, T, D). "
            f"Received: { ({name: features[name].shape for name in names}) }. Use pooling=None in `Text` and `Image`."
        )
    take = HeadInputs(features)
    sequences = {name: take(name) for name in attend}
    presence = [take(f"{name}.present") for name in names]
    vectors = {}
    for name, there in zip(names, presence, strict=True):
        if name in sequences:
            continue
        x = take(name)
        if len(x.shape) == 3:
            x = MaskedMean(name=f"{name}_mean")(x, take.mask(name))
        if fusion != "early":
            if name in normalise:
                x = NormalizePresent(momentum=MOMENTUM, name=f"{name}_normalise")(x, there)
            x = x if name in whole else keras.layers.Dropout(shares[name], name=f"{name}_drop")(x)
        vectors[name] = x
    if modality_dropout and len(names) > 1:
        presence = ModalityDropout(modality_dropout, name="modality_dropout")(presence)
    there = dict(zip(names, presence, strict=True))

    def decide(x, number=0):
        for layer in range(depth):
            place = f"{number}_{layer}" if layer else number
            x = keras.layers.Dense(units, activation="gelu", name=f"hidden_{place}")(x)
            x = keras.layers.Dropout(dropout, name=f"hidden_drop_{place}")(x)
        return task.logits(x, target, name=f"logits_{number}")

    used = list(vectors.values())
    if fusion == "late":
        logits = LateFusion(name="fusion")([decide(x, i) for i, x in enumerate(used)], presence)
    elif fusion == "hybrid":
        joint = decide(ConcatFusion(name="fusion")(used, presence))
        own = [task.logits(x, target, name=f"own_logits_{i}") for i, x in enumerate(used)]
        each = HybridFusion(name=DECISIONS)(joint, own, presence)  # (B, 1 + modalities, C)
        each = [each[:, i] for i in range(1 + len(own))]
        logits = LateFusion(name="mean")(each, [keras.ops.ones_like(presence[0]), *presence])
    elif fusion == "early":
        x = EarlyFusion(name="fusion")(used, presence)
        x = keras.layers.BatchNormalization(momentum=MOMENTUM, name="normalise")(x)
        logits = decide(keras.layers.Dropout(dropout, name="drop")(x))
    elif fusion == "cross_attention":
        fuse = CrossAttentionFusion(units, attention_heads, dropout=min(dropout, 0.1), name="fusion")
        x = fuse(list(sequences.values()), [take.mask(n) for n in sequences], [there[n] for n in sequences])
        if vectors:
            beside = ConcatFusion(name="beside")(used, [there[name] for name in vectors])
            x = keras.ops.concatenate([x, beside], axis=-1)
        logits = decide(x)
    else:
        settings = {} if fusion == "concat" else {"units": units}
        layer = {"concat": ConcatFusion, "gated": GatedFusion, "bilinear": BilinearFusion}[fusion]
        logits = decide(layer(name="fusion", **settings)(used, presence))
    return keras.Model(take.inputs, {task.column: task.activate(logits)}, name="head")


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
