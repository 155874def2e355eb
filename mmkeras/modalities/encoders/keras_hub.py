"""Pretrained text encoders: KerasHub's, from presets or local directories, and TensorFlow Hub's SavedModels."""

import os
import pathlib

import keras
import tensorflow as tf

from mmkeras import hub, layers

SCRATCH_VOCABULARY = 6_000


def first_block_input(block):
    """What the first transformer block reads, apart from masks."""
    return block.input[0] if isinstance(block.input, list | tuple) else block.input


def sequence_output(output):
    """The (B, T, D) output of a backbone, whether it gives one tensor or a dict."""
    return output["sequence_output"] if isinstance(output, dict) else output


def pooled_output(output, encoder):
    """The (B, D) output of a backbone that has a pooler, as BERT has.

    Raises:
        ValueError: one that has none, as DistilBERT.
    """
    if isinstance(output, dict) and "pooled_output" in output:
        return output["pooled_output"]
    gives = sorted(output) if isinstance(output, dict) else "token features only"
    raise ValueError(
        "`pooling='pooled'` needs an encoder with a pooled_output, as BERT has. "
        f"Received: {encoder!r}, which gives {gives}. Use 'cls' or 'mean'."
    )


def check_blocks(encoder, trainable, layers):
    """Raise where settings name blocks of an encoder whose blocks cannot be told apart."""
    if not hub.is_saved_model(encoder):
        return
    if not isinstance(trainable, bool):
        raise ValueError(
            "`trainable` of a TF-Hub encoder must be False or True: a SavedModel trains as a whole. "
            f"Received: {trainable!r} for {encoder!r}. Use True, or a KerasHub encoder to train its top blocks."
        )
    if layers > 1:
        raise ValueError(
            "`layers` of a TF-Hub encoder must be 1: the blocks of a SavedModel are not at hand. "
            f"Received: {layers} for {encoder!r}. Use 1, or a KerasHub encoder."
        )


def load_pretrained(encoder, kind, **kwargs):
    """Load the "Backbone" or the "Tokenizer" of a preset, a handle or a local directory.

    Returns:
        A KerasHub object; for the backbone of a TF-Hub handle or a SavedModel's directory, a keras.Model of the same
        form: {"token_ids", "padding_mask", "segment_ids"} to {"sequence_output", "pooled_output", …}.

    Raises:
        FileNotFoundError: a path that does not exist.
        ValueError: a directory that holds something else, or a preset that cannot be had.
    """
    encoder = os.fspath(encoder)
    if hub.is_saved_model(encoder):
        return _hub_backbone(encoder, **kwargs) if kind == "Backbone" else _hub_tokenizer(encoder)
    import keras_hub

    is_handle = "://" in encoder
    path = pathlib.Path(encoder).expanduser()
    looks_local = not is_handle and (
        path.is_absolute() or encoder.startswith((".", "~")) or os.sep in encoder or path.exists()
    )
    if looks_local and not path.exists():
        raise FileNotFoundError(
            f"`encoder` looks like a local directory, and it does not exist. Received: {encoder!r}. "
            "Check the path, or give a KerasHub preset name."
        )
    if looks_local and not (path / "config.json").is_file():
        held = sorted(p.name for p in path.iterdir())[:8] if path.is_dir() else "a file"
        raise ValueError(
            "An `encoder` directory must hold config.json with weights and vocabulary, in KerasHub's or Hugging Face's "
            f"format, or a SavedModel of TensorFlow Hub. Received: {encoder!r}, which holds {held}. Save one with `backbone.save_to_preset` and "
            "`tokenizer.save_to_preset`."
        )
    loader = keras_hub.models.Backbone if kind == "Backbone" else keras_hub.tokenizers.Tokenizer
    try:
        return loader.from_preset(str(path) if looks_local else encoder, **kwargs)
    except Exception as error:
        where = "the local directory" if looks_local else "KerasHub preset or handle (a download)"
        raise ValueError(
            f"`encoder` must be loadable by KerasHub as a text {kind.lower()}. Received: {where} {encoder!r}, which failed "
            f"with: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}. "
            "Check the name, the connection, or give a local directory."
        ) from error


def _hub_backbone(encoder, dtype=None):
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in hub.TENSORS.values()}
    return keras.Model(inputs, hub.HubEncoder(encoder, dtype=dtype)(inputs))


def _hub_tokenizer(encoder):
    """A WordPiece tokenizer of the vocabulary that TF-Hub's BERT encoders bring along."""
    import keras_hub

    folder = hub.resolve(encoder)
    vocabulary = folder / "assets" / "vocab.txt"
    if not vocabulary.is_file():
        held = (
            sorted(path.name for path in (folder / "assets").iterdir()) if (folder / "assets").is_dir() else "nothing"
        )
        raise ValueError(
            "A TF-Hub encoder without assets/vocab.txt needs `preprocessor`, the handle or directory of the preprocessing "
            f"model that its page names. Received: {encoder!r}, whose assets are {held}, and preprocessor=None."
        )
    lowercase = True
    if (folder / "variables" / "variables.index").is_file():
        # TF-Hub's encoders say so themselves, for there are cased ones.
        checkpoint, key = tf.train.load_checkpoint(str(folder / "variables" / "variables")), "do_lower_case"
        if checkpoint.has_tensor(f"{key}/.ATTRIBUTES/VARIABLE_VALUE"):
            lowercase = bool(checkpoint.get_tensor(f"{key}/.ATTRIBUTES/VARIABLE_VALUE"))
    return keras_hub.models.BertTokenizer(str(vocabulary), lowercase=lowercase, strip_accents=lowercase)


def tokenize_layer(tokenizer, sequence_length, name):
    """`layers.Tokenize` with the special tokens of a KerasHub tokenizer.

    Raises:
        ValueError: a tokenizer without start and end tokens.
    """

    def token_id(*names):
        return next((getattr(tokenizer, n) for n in names if getattr(tokenizer, n, None) is not None), None)

    start, end = token_id("start_token_id", "cls_token_id"), token_id("end_token_id", "sep_token_id")
    if start is None or end is None:
        raise ValueError(
            "A text encoder's tokenizer must have start and end tokens, as BERT-like encoders do. "
            f"Received: {type(tokenizer).__name__}. Use an encoder such as 'distil_bert_base_en_uncased'."
        )
    # RoBERTa's pairs have two end tokens between the texts (Liu et al., 2019).
    separators = 2 if "Roberta" in type(tokenizer).__name__ else 1
    pad = token_id("pad_token_id") or 0
    return layers.Tokenize(tokenizer, start, end, pad, sequence_length, separators, name=name)


def learn_tokenizer(rows):
    """A lower-case WordPiece tokenizer whose vocabulary comes from `rows` (Schuster & Nakajima, 2012)."""
    import keras_hub

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    dataset = tf.data.Dataset.from_tensor_slices(list(rows)).batch(256)
    vocabulary = keras_hub.tokenizers.compute_word_piece_vocabulary(
        dataset, SCRATCH_VOCABULARY, reserved_tokens=special, lowercase=True, strip_accents=True
    )
    return keras_hub.models.BertTokenizer(vocabulary=vocabulary, lowercase=True, strip_accents=True)
