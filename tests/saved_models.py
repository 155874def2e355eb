"""SavedModels with the signatures of TF-Hub's BERT encoders, of their preprocessing, and of YAMNet, small and with random weights."""

import functools
import pathlib
import tempfile

import tensorflow as tf
from conftest import tiny_vocabulary

WIDTH = 8


class Encoder(tf.Module):
    """Embeddings of tokens and segments, one dense layer, and a pooler. Nothing looks at its neighbours but the mean."""

    def __init__(self, vocabulary, vocabulary_file=None, seed=0):
        super().__init__()

        def make(*shape, name, trainable=True):
            nonlocal seed
            seed += 1
            return tf.Variable(tf.random.stateless_normal(shape, (seed, 7)), name=name, trainable=trainable)

        self.words = make(len(vocabulary), WIDTH, name="words/table")
        self.segments = make(2, WIDTH, name="segments/table")
        self.dense = make(WIDTH, WIDTH, name="dense/kernel")
        self.offset = make(WIDTH, name="dense/offset", trainable=False)
        self.pooler = make(WIDTH, WIDTH, name="pooler/kernel")
        self.unused = make(3, name="mlm/bias")
        self.do_lower_case = tf.Variable(True, trainable=False, name="do_lower_case")
        if vocabulary_file is not None:
            self.vocab_file = tf.saved_model.Asset(str(vocabulary_file))

    @tf.function
    def __call__(self, inputs, training=False, mask=None):
        words = tf.gather(self.words, inputs["input_word_ids"]) + tf.gather(self.segments, inputs["input_type_ids"])
        present = tf.cast(inputs["input_mask"], tf.float32)[:, :, None]
        mean = tf.math.divide_no_nan(tf.reduce_sum(words * present, 1), tf.reduce_sum(present, 1))
        if training:
            words = tf.nn.dropout(words, 0.5)
        sequence = tf.tanh((words + mean[:, None]) @ self.dense + self.offset)  # (B, T, D)
        pooled = tf.tanh(sequence[:, 0] @ self.pooler)
        outputs = {"pooled_output": pooled, "default": pooled, "sequence_output": sequence}
        return {**outputs, "encoder_outputs": [words, sequence]}


class Tokenize(tf.Module):
    def __init__(self, vocabulary_file):
        super().__init__()
        import tensorflow_text

        initializer = tf.lookup.TextFileInitializer(
            str(vocabulary_file), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )  # fmt: skip
        self.table = tf.lookup.StaticVocabularyTable(initializer, 1)
        self.words = tensorflow_text.BertTokenizer(self.table, token_out_type=tf.int64, lower_case=True)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, texts):
        return tf.cast(self.words.tokenize(texts), tf.int32)  # (B, words, pieces)


class Pack(tf.Module):
    """[CLS] a [SEP] b [SEP], the longer text cut first; padded to `seq_length`."""

    def __init__(self, start, end):
        super().__init__()
        self.start, self.end = start, end

    @tf.function
    def __call__(self, inputs, seq_length):
        import tensorflow_text

        rows = [pieces.merge_dims(1, 2) for pieces in inputs]
        rows = tensorflow_text.RoundRobinTrimmer(seq_length - 1 - len(rows)).trim(rows)
        ids, types = tensorflow_text.combine_segments(rows, self.start, self.end)
        packed, mask = tensorflow_text.pad_model_inputs(ids, seq_length)
        types, _ = tensorflow_text.pad_model_inputs(types, seq_length)
        tensors = {"input_word_ids": packed, "input_mask": mask, "input_type_ids": types}
        return {name: tf.cast(tensor, tf.int32) for name, tensor in tensors.items()}


class Frames(tf.Module):
    """As YAMNet: scores, embeddings and a spectrum of the frames of one sound."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.random.stateless_normal((160, 12), (1, 2)))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def __call__(self, wave):
        frames = tf.signal.frame(wave, 160, 160)
        return frames[:, :5], tf.tanh(frames @ self.kernel), frames[:, :3]


def save_sound_encoder(folder):
    """Write an encoder of sounds."""
    tf.saved_model.save(Frames(), str(folder))


def write_vocabulary(folder, vocabulary):
    path = pathlib.Path(folder) / "vocab.txt"
    path.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return path


def save_encoder(folder, vocabulary=None, with_vocabulary=True, seed=0):
    """Write an encoder; returns its folder as a string."""
    vocabulary = vocabulary or tiny_vocabulary()
    with tempfile.TemporaryDirectory() as temporary:
        encoder = Encoder(vocabulary, write_vocabulary(temporary, vocabulary) if with_vocabulary else None, seed)
        inputs = {
            name: tf.TensorSpec((None, None), tf.int32, name=name)
            for name in ("input_word_ids", "input_mask", "input_type_ids")
        }
        for training in (True, False):
            encoder.__call__.get_concrete_function(inputs, training=training)
        tf.saved_model.save(encoder, str(folder))
    return str(folder)


def save_preprocessor(folder, vocabulary=None):
    """Write a preprocessing model; returns its folder as a string."""
    vocabulary = vocabulary or tiny_vocabulary()
    with tempfile.TemporaryDirectory() as temporary:
        module = tf.Module()
        module.tokenize = Tokenize(write_vocabulary(temporary, vocabulary))
        module.bert_pack_inputs = Pack(vocabulary.index("[CLS]"), vocabulary.index("[SEP]"))
        ragged = tf.RaggedTensorSpec([None, None, None], tf.int32)
        for segments in (1, 2):
            length = tf.TensorSpec([], tf.int32, name="seq_length")
            module.bert_pack_inputs.__call__.get_concrete_function([ragged] * segments, seq_length=length)
        tf.saved_model.save(module, str(folder))
    return str(folder)


@functools.lru_cache
def _shared(kind):
    folder = tempfile.TemporaryDirectory(prefix="saved-model-")
    makers = {"encoder": save_encoder, "preprocessor": save_preprocessor, "sounds": save_sound_encoder}
    makers[kind](folder.name)
    return folder


def shared(kind):
    """The folder of an "encoder", a "preprocessor" or an encoder of "sounds" for the whole run."""
    return _shared(kind).name
