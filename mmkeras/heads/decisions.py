"""The third stage for decisions: features of every modality → fusion → the task's output."""

import keras

from mmkeras import layers
from mmkeras.fusion import ConcatFusion, Fusion, ModalityDropout, NormalizePresent
from mmkeras.heads.inputs import DECISION, HeadInputs, JoinInputs, modality_names
from mmkeras.registry import named

DROPOUT = 0.5
SETTINGS = (
    "units",
    "dropout",
    "depth",
    "modality_dropout",
    "attention_heads",
    "members",
    "projection",
)  # of a head, beside its fusion
MEMBERS = "members"  # the decision (B, k, C) of members, of which each trains by a loss of its own


def build_head(
    features, task, fusion="concat", units=512, dropout=DROPOUT, target=None, modalities=None, normalise=(), whole=(), *,
    depth=1, modality_dropout=0.0, attention_heads=4, members=1, projection=0,
):  # fmt: skip
    """Features and presence masks → prediction, as one Functional model.

    How the modalities are joined:
        - "concat": features side by side, each normalised by itself, a learned vector in place of an absent one;
        - "early": raw features and presence flags side by side, then normalised together;
        - "gated": a sum that each row weighs unit by unit;
        - "bilinear": a product, which tells whether modalities agree;
        - "cross_attention": tokens attend to the tokens and patches of the other modalities; at least two modalities must
          give sequences (`pooling=None`), and modalities that give vectors join afterwards;
        - "stacked_attention", "film": the patches of one modality, such as an image of `pooling=None`, looked at as all others, such
          as a question, tell: by attention, or by scaling and shifting what is seen in each patch;
        - "word_attention": each word of a question looks for its patches, and the words are read with what they saw; two modalities must
          give sequences, and others join afterwards;
        - "late": each modality decides by a hidden layer of its own; a learned mean of the logits;
        - "hybrid": the joint decision of "concat", and a linear one of each modality, trained by a loss each; a learned mean
          of the logits;
        - the `label` of a `fusion.Fusion` of your own.
    For numbers, `Regression`, the decisions of "late" and "hybrid" add up instead of being averaged.
    After all but the last two of these come `depth` hidden layers. With one modality, every fusion is "concat".

    Args:
        features: {name: KerasTensor}, what `prepare` and `encode` give: "modality" (B, D) or (B, T, D), with
            "modality.present" (B, 1); for sequences with padding "modality.padding_mask" (B, T), or for those of N equal
            parts "modality.each_present" (B, N).
        task: an adapted task of decisions: `MultiLabel`, `MultiClass` or `Regression`.
        fusion: one of the above.
        units: int, width of a hidden layer, and of what "gated", "bilinear" and those that attend join.
        dropout: float, share of the features, and of the hidden layer, left out in training; or {modality: share}, in which
            the others, and the hidden layer, keep 0.5. Wide features that few rows have overfit less at 0.9.
        target: encoded training target for the output's starting bias, or None.
        modalities: names of the features to use; None takes all.
        normalise: names of the features to be brought to mean 0 and variance 1 by statistics of the rows that have them.
        whole: names of the features of which training leaves nothing out, because they are few.
        depth: int, how many hidden layers come before each decision but the linear ones.
        modality_dropout: float, the chance that training leaves out a whole modality of a row, see `ModalityDropout`.
        attention_heads: int, heads of "cross_attention"; must divide `units`.
        projection: int, the width to which a linear layer brings each feature that is more than twice as wide, before they are
            joined; 0 for none. Fewer weights learn faster, and overfit less.
        members: int, how many models that share most weights decide together, see `layers.MemberDense`; each trains by a loss of its
            own, and their logits are averaged. 8 cost little more than one.

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
    settings = {"depth": depth, "modality_dropout": modality_dropout, "attention_heads": attention_heads}
    settings = {**settings, "members": members, "projection": projection}
    kind = check_settings(modality_names(features), fusion, units=units, dropout=dropout, **settings)
    inputs = HeadInputs(features, modalities or None, normalise, whole=whole)
    kind = kind if len(inputs.names) > 1 else ConcatFusion
    shares = dropout if isinstance(dropout, dict) else dict.fromkeys(inputs.names, dropout)
    dropout = DROPOUT if isinstance(dropout, dict) else dropout

    def decide(x, number=0, plus=None):
        for layer in range(depth):
            place = f"{number}_{layer}" if layer else number
            x = hidden_layer(units, members, f"hidden_{place}")(x)
            x = keras.layers.Dropout(dropout, name=f"hidden_drop_{place}")(x)
        if members == 1:
            logits = task.logits(x, target, name=f"logits_{number}")
            return logits if plus is None else keras.layers.Add(dtype="float32", name=f"sum_{number}")([logits, plus])
        each = task.logits(layers.MemberScale(name=f"apart_{number}")(x), target, name=f"logits_{number}")  # (B, k, C)
        each = each if plus is None else each + keras.ops.expand_dims(plus, 1)
        each = JoinInputs.decision(each, f"{MEMBERS}{number or ''}")
        return keras.layers.GlobalAveragePooling1D(dtype="float32", name=f"members_mean_{number}")(each)

    def decide_linearly(x, number):
        return task.logits(x, target, name=f"own_logits_{number}")

    read = read_features(inputs, kind, shares, modality_dropout=modality_dropout, projection=projection)
    size = {"units": units, "dropout": dropout, "attention_heads": attention_heads}
    logits = kind.join(JoinInputs(**read, **size, decide=decide, decide_linearly=decide_linearly, adds=task.adds))
    return keras.Model(inputs.inputs, {task.column: task.activate(logits)}, name="head")


def hidden_layer(units, members, name):
    """A dense layer, or that of several members."""
    if members == 1:
        return keras.layers.Dense(units, activation="gelu", name=name)
    return layers.MemberDense(units, members, activation="gelu", name=name)


def check_settings(names, fusion="concat", **settings):
    """The class of a fusion; raises unless a head of these settings can be.

    Args:
        names: names of the modalities.
        fusion, **settings: some of `SETTINGS`, see `build_head`.

    Raises:
        ValueError: a value outside its range, an unknown fusion, a share of dropout for a modality that is not there.
    """
    kind = named(Fusion, fusion, "fusion")
    dropout, projection = settings.get("dropout", DROPOUT), settings.get("projection", 0)
    sizes = {name: settings[name] for name in ("units", "depth", "attention_heads", "members") if name in settings}
    if isinstance(projection, bool) or not isinstance(projection, int) or projection < 0:
        raise ValueError(f"`projection` must be an int, 0 for none. Received: {projection!r}.")
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a positive int. Received: {value!r}.")
    if isinstance(dropout, dict) and not set(dropout) <= set(names):
        raise ValueError(
            f"`dropout` must name modalities of {list(names)}. Received: {sorted(set(dropout) - set(names))}."
        )
    shares = dropout.values() if isinstance(dropout, dict) else [dropout]
    for name, share in (
        *(("dropout", share) for share in shares),
        ("modality_dropout", settings.get("modality_dropout", 0.0)),
    ):
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
            raise ValueError(f"`{name}` must lie in [0, 1). Received: {share!r}.")
    return kind


def read_features(inputs, kind, shares, *, modality_dropout=0.0, projection=0, before=""):
    """What a fusion joins, as attributes of `JoinInputs`: features normalised and with gaps, presence, masks.

    Args:
        inputs: `HeadInputs`.
        kind: class of the fusion.
        shares: {modality: dropout}; others have 0.5.
        modality_dropout, projection: see `build_head`.
        before: str, before names of layers.
    """
    names = inputs.names
    shapes = {name: inputs.features[name].shape for name in names}
    attending = kind.attending({name: shape for name, shape in shapes.items() if inputs.is_sequence(name)})
    if len(attending) < kind.sequences:
        needed = "a modality that gives" if kind.sequences == 1 else "two modalities that give"
        raise ValueError(
            f"fusion={kind.label!r} needs {needed} sequences (B, T, D). "
            f"Received: {shapes}. Use pooling=None in `Text` and `Image`."
        )
    sequences = {name: inputs(name) for name in attending}
    presence = {name: inputs.present(name) for name in names}
    vectors = {}
    for name in (name for name in names if name not in sequences):
        x = inputs.vector(name)
        if not kind.raw:
            if name in inputs.normalise:
                x = NormalizePresent(momentum=JoinInputs.momentum, name=f"{before}{name}_normalise")(x, presence[name])
            if name not in inputs.whole:
                x = keras.layers.Dropout(shares.get(name, DROPOUT), name=f"{before}{name}_drop")(x)
            if projection and x.shape[-1] > 2 * projection:
                x = keras.layers.Dense(projection, name=f"{before}{name}_projection")(x)
        vectors[name] = x
    if modality_dropout and len(names) > 1:
        kept = ModalityDropout(modality_dropout, name="modality_dropout")(list(presence.values()))
        presence = dict(zip(names, kept, strict=True))
    return {
        "names": names, "sequence_names": attending, "vector_of": vectors, "sequence_of": sequences,
        "mask_of": {name: inputs.mask(name) for name in attending}, "presence_of": presence,
    }  # fmt: skip


def decisions_of(head):
    """{name: logits (B, C)} of the decisions of a head that train by a loss of their own; see `JoinInputs.decision`."""
    return {layer.name.removeprefix(DECISION): layer.output for layer in head.layers if layer.name.startswith(DECISION)}


def unknown_settings(known, settings, what):
    """Raise a ValueError for settings that are not among the known ones, naming these."""
    for name in settings:
        if name not in known:
            raise ValueError(f"{what} takes the settings {list(known)}. Received: {name!r}. Check the spelling.")
