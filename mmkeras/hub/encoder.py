"""A text encoder of TensorFlow Hub as a layer whose weights are the SavedModel's variables."""

import inspect

import keras
import tensorflow as tf

from mmkeras.graph import adopt_variable
from mmkeras.hub.saved_models import TENSORS, Folder, SavedModelLayer, folders, interface, resolve

OUTPUTS = ("pooled_output", "sequence_output")


@keras.saving.register_keras_serializable("mmkeras")
class HubEncoder(SavedModelLayer):
    """A BERT-like encoder of TensorFlow Hub: token ids → token features and a pooled feature.

    The SavedModel must be callable with {"input_word_ids", "input_mask", "input_type_ids"} (B, T) int32, as TF-Hub's BERT,
    ALBERT and ELECTRA encoders are, and return at least {"pooled_output", "sequence_output"}. It computes in its own
    types, whatever the dtype policy; its outputs are cast to the policy's. Without `trainable` it also runs as in
    inference: nothing is dropped. A clone starts from the weights that the SavedModel had when it was read.

    Args:
        handle: the SavedModel's folder or TF-Hub handle, see `resolve`.
        stored: what `get_config` tells of a SavedModel that has been read: its digest, outputs and weights. Given, the
            handle is not read again; the files come from the layer that is cloned, or from the `.keras` file.

    Call arguments:
        inputs: dict of int tensors (B, T): "token_ids", "padding_mask" (1 = token), "segment_ids".
        training: bool, handed to the SavedModel if it takes it.

    Returns:
        dict: "pooled_output" (B, D), "sequence_output" (B, T, D), and what else the SavedModel gives.

    Raises:
        FileNotFoundError: a folder that does not exist.
        ValueError: no SavedModel, one of another signature, or a handle that cannot be fetched.

    Example:
        >>> from mmkeras.hub import HubEncoder
        >>> tokens = {name: keras.Input((None,), dtype="int32") for name in ("token_ids", "padding_mask", "segment_ids")}
        >>> encoder = HubEncoder("https://tfhub.dev/tensorflow/bert_en_uncased_L-12_H-768_A-12/4")  # doctest: +SKIP
        >>> encoder(tokens)["pooled_output"].shape  # doctest: +SKIP
        (None, 768)
    """

    def __init__(self, handle, stored=None, **kwargs):
        super().__init__(handle, stored, **kwargs)
        if stored is None:
            folder = Folder(resolve(self.handle))
            loaded, variables = _load(folder)
            _check_encoder(loaded, self.handle)
            specs = _describe(loaded, variables)
            self._make_weights(specs)
            for weight, number in zip(self.weights, self._order, strict=True):
                adopt_variable(weight, variables[number])
            self._use(folder, loaded, variables, specs)
        else:
            self._make_weights(stored["weights"])
            folder = folders.get(stored["digest"])
            if folder is not None:
                for variable, array in zip(self._variables(), folder.arrays(stored["weights"]), strict=True):
                    variable.assign(array)
                self._read(folder)

    def _make_weights(self, specs):
        """Weights of the right shapes: Keras loads their values, and builds an optimizer on them, before the assets."""
        for spec in specs:
            self.add_weight(initializer="zeros", **spec)
        self.built = True
        # `weights` gives those that train first; the SavedModel's graph has an order of its own.
        self._order = tuple(sorted(range(len(specs)), key=lambda number: not specs[number]["trainable"]))

    def _variables(self):
        """The weights' tf.Variables in the order of the SavedModel's graph."""
        return [
            weight.value for _, weight in sorted(zip(self._order, self.weights, strict=True), key=lambda pair: pair[0])
        ]

    def _read(self, folder):
        """Run the SavedModel in `folder` from now on, on this layer's weights with their present values."""
        self._use(folder, *_load(folder, self._variables()), self.stored["weights"])

    def _use(self, folder, loaded, variables, specs):
        self._folder, self._loaded = folder, loaded
        self._takes_training = _takes_training(loaded)
        self._remember(
            {
                "digest": folder.finish(variable.numpy() for variable in variables),
                "outputs": _plain(_outputs(loaded)),
                "weights": specs,
            }
        )

    def call(self, inputs, training=None):
        self._check_loaded()
        tensors = {theirs: tf.cast(inputs[ours], tf.int32) for theirs, ours in TENSORS.items()}
        settings = {"training": bool(training) and self.trainable} if self._takes_training else {}
        outputs = self._loaded(tensors, **settings)

        def cast(spec, value):
            return tf.cast(value, self._dtype_of(spec))

        return _map(cast, self.stored["outputs"], outputs)

    def compute_output_spec(self, inputs, training=None):
        rows = inputs["token_ids"].shape[0]

        def tensor(spec):
            shape = spec["shape"]
            shape = [rows, *shape[1:]] if shape and shape[0] is None else shape
            return keras.KerasTensor(tuple(shape), self._dtype_of(spec))

        return _map(tensor, self.stored["outputs"])

    def _dtype_of(self, spec):
        return self.compute_dtype if keras.backend.is_float_dtype(spec["dtype"]) else spec["dtype"]


def _load(folder, variables=None):
    """(SavedModel, its tf.Variables in the order of its graph).

    Args:
        folder: a `Folder`.
        variables: tf.Variables to take the place of the SavedModel's own, in this order; then no checkpoint is read.
    """
    created = []

    def create(next_creator, **settings):
        created.append(next_creator(**settings) if variables is None else variables[len(created)])
        return created[-1]

    options = tf.saved_model.LoadOptions(experimental_skip_checkpoint=variables is not None)
    with tf.variable_creator_scope(create):
        return tf.saved_model.load(str(folder.model), options=options), created


def _check_encoder(loaded, handle):
    """Raise an error that says what the SavedModel has instead of an encoder's signature."""
    try:
        outputs = _outputs(loaded)
        if all(name in outputs for name in OUTPUTS) and _plain(outputs):
            return
        content, cause = f"gives {sorted(outputs)}", None
    except (TypeError, ValueError) as error:
        content, cause = f"has {interface(loaded)}", error
    raise ValueError(
        f"A text encoder must be a SavedModel that is callable with {{{', '.join(TENSORS)}}} (B, T) int32 and gives "
        f"{{{', '.join(OUTPUTS)}}}. Received: {handle!r}, which {content}. Use one of TF-Hub's BERT encoders of version 3 or "
        "later; a preprocessing model goes elsewhere."
    ) from cause


def _outputs(loaded, **settings):
    """{name: symbolic tensor} of an encoder's outputs, for rows of any number and length."""
    signature = {name: tf.TensorSpec((None, None), tf.int32, name=name) for name in TENSORS}
    run = tf.function(lambda inputs: loaded(inputs, **settings), input_signature=[signature], autograph=False)
    outputs = run.get_concrete_function().structured_outputs
    return outputs if isinstance(outputs, dict) else {type(outputs).__name__: outputs}


def _takes_training(loaded):
    """Whether the SavedModel was saved in both modes."""
    arguments = inspect.getfullargspec(loaded.__call__)
    if "training" not in arguments.args + arguments.kwonlyargs:
        return False
    try:
        return all(_outputs(loaded, training=mode) for mode in (True, False))
    except ValueError:
        return False


def _describe(loaded, variables):
    """What `add_weight` needs for each variable. It may train if the call reads it, and TF-Hub's list of such names it."""
    may = {v.ref() for function in loaded.__call__.concrete_functions for v in function.graph.variables}
    named = getattr(loaded, "trainable_variables", None)
    if named is not None:
        may &= {variable.ref() for variable in named}
    return [
        {
            "name": variable.name.partition(":")[0].replace("/", "_"),
            "shape": variable.shape.as_list(),
            "dtype": variable.dtype.name,
            "trainable": variable.trainable and variable.ref() in may,
        }
        for variable in variables
    ]


def _plain(specs):
    """Nested tensors' shapes and types as plain values, for the configuration."""
    if isinstance(specs, tf.TensorSpec | tf.Tensor):
        return {"shape": specs.shape.as_list(), "dtype": specs.dtype.name}
    if isinstance(specs, dict):
        return {str(name): _plain(spec) for name, spec in specs.items()}
    return [_plain(spec) for spec in specs]


def _map(function, specs, *values):
    """`function(spec, *value)` of each tensor in nested specs as `_plain` gives them."""
    if isinstance(specs, list):
        return [_map(function, spec, *(value[i] for value in values)) for i, spec in enumerate(specs)]
    if set(specs) == {"shape", "dtype"} and isinstance(specs["dtype"], str):
        return function(specs, *values)
    return {name: _map(function, spec, *(value[name] for value in values)) for name, spec in specs.items()}
