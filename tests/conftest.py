"""What the tests share: a tiny BERT in both directory formats, a few films, and the place of the real data."""

import json
import os
import pathlib
import string

import numpy as np
import pytest
import tensorflow as tf
from memory import KEPT

import mmkeras as mm
from mmkeras.trunk.engines import choice

os.environ.update(KEPT)  # for processes that are started from here

TINY = {"layers": 3, "hidden": 16, "heads": 2, "intermediate": 32, "positions": 256}


def tiny_vocabulary():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = list(string.ascii_lowercase)
    return special + letters + [f"##{letter}" for letter in letters] + [".", ",", "!"]


def _bert_tensors(rng):
    hidden, wide = TINY["hidden"], TINY["intermediate"]

    def matrix(*shape):
        return rng.normal(0.0, 0.3, shape).astype("float32")

    def norm(prefix):
        return {
            f"{prefix}.LayerNorm.weight": (1.0 + matrix(hidden)).astype("float32"),
            f"{prefix}.LayerNorm.bias": matrix(hidden),
        }

    tensors = {
        "embeddings.word_embeddings.weight": matrix(len(tiny_vocabulary()), hidden),
        "embeddings.position_embeddings.weight": np.resize(matrix(64, hidden), (TINY["positions"], hidden)),
        "embeddings.token_type_embeddings.weight": matrix(2, hidden),
        **norm("embeddings"),
        "pooler.dense.weight": matrix(hidden, hidden),
        "pooler.dense.bias": matrix(hidden),
    }
    for number in range(TINY["layers"]):
        block = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            tensors[f"{block}.attention.self.{part}.weight"] = matrix(hidden, hidden)
            tensors[f"{block}.attention.self.{part}.bias"] = matrix(hidden)
        tensors[f"{block}.attention.output.dense.weight"] = matrix(hidden, hidden)
        tensors[f"{block}.attention.output.dense.bias"] = matrix(hidden)
        tensors.update(norm(f"{block}.attention.output"))
        tensors[f"{block}.intermediate.dense.weight"] = matrix(wide, hidden)
        tensors[f"{block}.intermediate.dense.bias"] = matrix(wide)
        tensors[f"{block}.output.dense.weight"] = matrix(hidden, wide)
        tensors[f"{block}.output.dense.bias"] = matrix(hidden)
        tensors.update(norm(f"{block}.output"))
    return tensors


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """A directory in Hugging Face format: a BERT of 3 blocks, 16 wide, with random weights."""
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("tiny_bert")
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": len(tiny_vocabulary()),
        "num_hidden_layers": TINY["layers"],
        "num_attention_heads": TINY["heads"],
        "hidden_size": TINY["hidden"],
        "intermediate_size": TINY["intermediate"],
        "max_position_embeddings": TINY["positions"],
        "type_vocab_size": 2,
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    words = {"do_lower_case": True, "tokenizer_class": "BertTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(words), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(tiny_vocabulary()) + "\n", encoding="utf-8")
    save_file(_bert_tensors(np.random.default_rng(7)), str(folder / "model.safetensors"))
    return folder


@pytest.fixture(scope="session")
def tiny_keras_hub(tiny_bert, tmp_path_factory):
    """The same model as a KerasHub preset directory."""
    import keras_hub

    folder = tmp_path_factory.mktemp("tiny_keras_hub") / "preset"
    keras_hub.models.Backbone.from_preset(str(tiny_bert)).save_to_preset(str(folder))
    keras_hub.tokenizers.Tokenizer.from_preset(str(tiny_bert)).save_to_preset(str(folder))
    return folder


@pytest.fixture(autouse=True, scope="session")
def same_engine_everywhere():
    """Without it, processors with bfloat16 units would give other features than those without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "bfloat16_units", lambda: "")
        yield


@pytest.fixture
def no_graphs():
    """TensorFlow without graphs: making one takes longer than what is run once or twice."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def movies():
    """Forty made-up films; each test gets its own copy."""
    return mm.samples.movies(40, seed=3)


@pytest.fixture(scope="session")
def real_data():
    """The folder with the public data and weights."""
    folder = os.environ.get("MMKERAS_REAL_DATA")
    if not folder or not pathlib.Path(folder).is_dir():
        pytest.skip("MMKERAS_REAL_DATA does not name the folder of the real data and weights")
    return pathlib.Path(folder)
