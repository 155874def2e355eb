"""A text preprocessing model of TensorFlow Hub as a layer."""

import keras
import tensorflow as tf

from mmkeras.hub.saved_models import TENSORS, Folder, SavedModelLayer, folders, interface, resolve


@keras.saving.register_keras_serializable("mmkeras")
class HubPreprocessor(SavedModelLayer):
    """The text preprocessing of a TF-Hub encoder: strings → padded token ids, `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`.

    The SavedModel must have `tokenize` and `bert_pack_inputs`, as bert_en_uncased_preprocess has. Rows are padded only to
    the longest row of their batch. There are no weights.

    Args:
        handle: the SavedModel's folder or TF-Hub handle, see `resolve`.
        sequence_length: int, the most tokens a row may have, special tokens included.
        stored: what `get_config` tells of a SavedModel that has been read, see `HubEncoder`.

    Call arguments:
        texts: (B,) strings, or a list of two such tensors.

    Returns:
        dict of int32 tensors (B, T): "token_ids", "padding_mask" (1 = token), "segment_ids" (0 = first text).

    Raises:
        FileNotFoundError: a folder that does not exist.
        ValueError: no SavedModel, one without these functions, or a handle that cannot be fetched.

    Example:
        >>> from mmkeras.hub import HubPreprocessor
        >>> prepare = HubPreprocessor("https://tfhub.dev/tensorflow/bert_en_uncased_preprocess/3")  # doctest: +SKIP
        >>> prepare(tf.constant(["a fox"]))["token_ids"].shape  # doctest: +SKIP
        TensorShape([1, 4])
    """

    def __init__(self, handle, sequence_length=256, stored=None, **kwargs):
        super().__init__(handle, stored, **kwargs)
        self.sequence_length = sequence_length
        if not isinstance(sequence_length, int) or sequence_length < 5:
            raise ValueError(
                f"`sequence_length` must leave room for text between the special tokens. Received: {sequence_length!r}. "
                "Use 5 or more."
            )
        folder = Folder(resolve(self.handle)) if stored is None else folders.get(stored["digest"])
        if folder is not None:
            self._read(folder)

    def _read(self, folder):
        import tensorflow_text  # noqa: F401 - registers the operations that tokenize

        loaded = tf.saved_model.load(str(folder.model))
        lacking = [name for name in ("tokenize", "bert_pack_inputs") if not callable(getattr(loaded, name, None))]
        if lacking:
            raise ValueError(
                "A text preprocessor must be a SavedModel with `tokenize` and `bert_pack_inputs`. Received: "
                f"{self.handle!r}, which lacks {lacking} and has {interface(loaded)}. Use the preprocessing model that "
                "the encoder's page on TF-Hub names."
            )
        self._folder, self._loaded = folder, loaded
        self._remember({"digest": folder.finish()})

    def call(self, texts):
        self._check_loaded()
        columns = list(texts) if isinstance(texts, list | tuple) else [texts]
        pieces = [tf.cast(self._loaded.tokenize(tf.reshape(column, [-1])), tf.int32) for column in columns]
        packed = self._loaded.bert_pack_inputs(pieces, seq_length=tf.constant(self.sequence_length, tf.int32))
        lengths = tf.reduce_sum(tf.cast(packed["input_mask"], tf.int32), axis=1)
        longest = tf.maximum(tf.reduce_max(lengths), 0)  # of no rows the maximum is the smallest int
        return {ours: tf.cast(packed[theirs], tf.int32)[:, :longest] for theirs, ours in TENSORS.items()}

    def compute_output_spec(self, texts):
        first = texts[0] if isinstance(texts, list | tuple) else texts
        return {name: keras.KerasTensor((first.shape[0], None), "int32") for name in TENSORS.values()}

    def get_config(self):
        return {**super().get_config(), "sequence_length": self.sequence_length}
