"""The line of Python that calls an exported model."""

import sys

from mmkeras.data.columns import columns_of
from mmkeras.persistence import argument_names

_PICTURE = "tf.io.encode_png(tf.zeros((8, 8, 3), 'uint8'))"


def call_of(pipe, path):
    """Python that runs as it stands: it loads a SavedModel and prints what it says of a row of examples.

    Args:
        pipe: fitted `Pipeline` that was exported.
        path: str, the folder.
    """
    inputs, columns = pipe.prepare.input, columns_of(pipe.modalities)
    names = argument_names(inputs)
    row = ", ".join(f"{names[name]!r}: {_values(columns[name], tensor)}" for name, tensor in inputs.items())
    also = ", tensorflow_text" if "tensorflow_text" in sys.modules else ""  # whose operations the model may have
    # The model has a name because TensorFlow deletes the variables of one that nobody holds.
    return f"import tensorflow as tf{also}; model = tf.saved_model.load({path!r}); print(model.serve({{{row}}}))"


def _values(column, tensor):
    """A tensor of one raw value, as Python."""
    if tensor.dtype == "string":
        examples = column.examples()
        example = "1995-10-30" if examples is None else examples[0]
        return f"tf.constant([{example!r}])" if isinstance(example, str) else f"tf.stack([{_PICTURE}])"
    shape = [size or 1 for size in tensor.shape[1:]]
    return f"tf.ones({[1, *shape]}, {tensor.dtype!r})"
