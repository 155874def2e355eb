"""Texts through presets of many families, made at random and tiny, and through models of one's own."""

import io
import json
import zipfile

import h5py
import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest
import sentencepiece
import tensorflow as tf

import mmkeras as mm
from mmkeras.graph import compiled
from mmkeras.layers import FormText, PadTokens, Tokenize
from mmkeras.modalities.encoders.families import FAMILIES
from mmkeras.trunk.trunk import Trunk

models = keras_hub.models
SIZE = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 24}
LENGTH = 24
TEXTS = [
    "A dog, the cat and the lamp",
    "the old lamp",
    "Films of war & peace, at last! What is a chair, then?",
    "",
    "Dogs",
]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def sentence_pieces(pad_id, bos_id, eos_id, unk_id, **names):
    """A SentencePiece vocabulary in which the special tokens have these numbers."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text.lower() for text in TEXTS if text] * 9), model_writer=written, vocab_size=60, hard_vocab_limit=False,
        pad_id=pad_id, bos_id=bos_id, eos_id=eos_id, unk_id=unk_id, minloglevel=2, **names,
    )  # fmt: skip
    return written.getvalue()


def byte_pairs(before=(), behind=(), ends=False):
    """A byte-pair vocabulary: the characters that stand for bytes, and two merges."""
    letters = list(
        dict.fromkeys([*LETTERS, *map(chr, range(33, 127)), *map(chr, range(161, 173)), *map(chr, range(174, 324))])
    )
    letters += [f"{letter}</w>" for letter in letters] if ends else []
    words = [*before, *letters, "do", "th", "the</w>" if ends else "the", *behind]
    merges = ["d o", "t h", "th e</w>" if ends else "th e"]
    return {"vocabulary": {word: number for number, word in enumerate(words)}, "merges": merges}


def words():
    return [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *LETTERS,
        *(f"##{letter}" for letter in LETTERS),
        ",",
        "!",
        "?",
        "&",
        ":",
    ]


def _tokenizer(family):
    """A tokenizer of a family."""
    special = {"bos_piece": "[CLS]", "eos_piece": "[SEP]", "user_defined_symbols": "[MASK]"}
    if family in ("bert", "roformer_v2"):
        kind = models.BertTokenizer if family == "bert" else models.RoformerV2Tokenizer
        return kind(vocabulary=words(), lowercase=True)
    if family == "roberta":
        return models.RobertaTokenizer(**byte_pairs(before=["<s>", "<pad>", "</s>", "<unk>", "<mask>"]))
    if family == "clip":
        pairs = byte_pairs(behind=["<|startoftext|>", "<|endoftext|>"], ends=True)
        return models.CLIPTokenizer(**pairs, pad_with_end_token=True)
    if family == "siglip":
        return models.SigLIPTokenizer(proto=sentence_pieces(0, 3, 1, 2))
    if family in ("xlm_roberta", "metaclip_2"):
        kind = models.XLMRobertaTokenizer if family == "xlm_roberta" else models.MetaCLIP2Tokenizer
        return kind(proto=sentence_pieces(-1, 1, 2, 0))
    proto = {
        "deberta_v3": lambda: sentence_pieces(0, 1, 2, 3, pad_piece="[PAD]", unk_piece="[UNK]", **special),
        "albert": lambda: sentence_pieces(0, 2, 3, 1, **special),
        "f_net": lambda: sentence_pieces(3, 4, 5, 0, **special),
    }[family]()
    kinds = {"deberta_v3": models.DebertaV3Tokenizer, "albert": models.AlbertTokenizer, "f_net": models.FNetTokenizer}
    return kinds[family](proto=proto)


def _backbone(family, count):
    """A random backbone of a family, for `count` tokens."""
    size = {"vocabulary_size": count, "max_sequence_length": LENGTH, **SIZE}
    if family in ("clip", "siglip", "metaclip_2"):
        prefix = {"clip": "CLIP", "siglip": "SigLIP", "metaclip_2": "MetaCLIP2"}[family]
        kinds = [getattr(models, f"{prefix}{part}") for part in ("Backbone", "TextEncoder", "VisionEncoder")]
        projection = {"projection_dim": 12}
        text = kinds[1](embedding_dim=16, **size, **(projection if family == "siglip" else {}))
        seen = {"patch_size": 8, "image_shape": (16, 16, 3), **SIZE, "hidden_dim": 12}
        return kinds[0](
            vision_encoder=kinds[2](**seen), text_encoder=text, **({} if family == "siglip" else projection)
        )
    if family == "roformer_v2":
        size.pop("max_sequence_length")
        return models.RoformerV2Backbone(head_size=8, max_wavelength=10_000, use_bias=False, **size)
    if family == "f_net":
        size.pop("num_heads")
        return models.FNetBackbone(**size)
    more = {"albert": {"embedding_dim": 8}, "deberta_v3": {"bucket_size": 16}}.get(family, {})
    kinds = {
        "bert": "Bert",
        "roberta": "Roberta",
        "xlm_roberta": "XLMRoberta",
        "albert": "Albert",
        "deberta_v3": "DebertaV3",
    }
    return getattr(models, f"{kinds[family]}Backbone")(**size, **more)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A function of a family's name: (folder, backbone, tokenizer)."""
    made = {}

    def make(family):
        if family not in made:
            keras.utils.set_random_seed(0)
            tokenizer = _tokenizer(family)
            backbone = _backbone(family, tokenizer.vocabulary_size())
            rng = np.random.default_rng(0)
            for weight in backbone.weights:
                weight.assign(weight + rng.normal(0, 0.2, weight.shape))
            folder = tmp_path_factory.mktemp(family)
            backbone.save_to_preset(str(folder))
            tokenizer.save_to_preset(str(folder))
            made[family] = str(folder), backbone, tokenizer
        return made[family]

    return make


def table(texts=tuple(TEXTS)):
    return pd.DataFrame({"t": texts, "y": (["a", "b"] * len(texts))[: len(texts)]})


def features(modality, df):
    """A function of a DataFrame: what the first two stages give, in float32 and without a cache."""
    adapted = modality.adapt(df)
    trunk = Trunk([adapted], engine="tensorflow")
    return lambda rows: trunk.encode(trunk.prepare(adapted.raw_values(rows)))["text"].numpy()


def by_hand(family, backbone, tokenizer):
    """{pooling: features} of the texts by a family's own preprocessor."""
    own = {"clip": "CLIP", "siglip": "SigLIP", "metaclip_2": "MetaCLIP2CausalLM"}.get(family)
    if own:
        tokens = getattr(models, f"{own}Preprocessor")(tokenizer, sequence_length=LENGTH)(
            {"images": None, "prompts": tf.constant(TEXTS)}
        )
        pooled = backbone.get_text_embeddings(tokens["token_ids"]).numpy()
        return {"pooled": pooled, "cls": pooled}  # of what stands for the text
    name = type(backbone).__name__.replace("Backbone", "TextClassifierPreprocessor")
    tokens = getattr(models, name)(tokenizer, sequence_length=LENGTH)(tf.constant(TEXTS))
    output = backbone({key: tokens[key] for key in backbone.input})
    sequence = (output["sequence_output"] if isinstance(output, dict) else output).numpy()
    mask = np.asarray(tokens["token_ids"] != tokenizer.pad_token_id)[..., None]
    return {"cls": sequence[:, 0], "mean": (sequence * mask).sum(1) / mask.sum(1)}


HALVES = ("clip", "siglip", "metaclip_2")
EVERY = [
    "bert",
    "roberta",
    "xlm_roberta",
    "deberta_v3",
    "albert",
    "f_net",
    "roformer_v2",
    "clip",
    "siglip",
    "metaclip_2",
]


@pytest.mark.parametrize("family", EVERY)
def test_features_are_those_of_the_backbone_on_its_own_preprocessors_tokens(preset, family):
    folder, backbone, tokenizer = preset(family)
    first = mm.Text("t", folder, LENGTH).adapt(table())
    prepare = compiled(mm.build_prepare([first]))
    whole, alone = (prepare(first.raw_values(rows)) for rows in (table(), table().iloc[[1]]))
    for pooling, expected in by_hand(family, backbone, tokenizer).items():
        encode = mm.build_encode(
            [mm.Text("t", folder, LENGTH, pooling).learn(**first.state)], mm.build_prepare([first])
        )
        said = encode(whole)["text"].numpy()
        if family in HALVES and pooling == "cls":
            said = (backbone.text_encoder.head if family == "siglip" else backbone.text_projection)(said)
        np.testing.assert_allclose(said, expected, atol=1e-5)
        np.testing.assert_allclose(encode(alone)["text"], encode(whole)["text"][1:2], atol=1e-5)


def test_adapters_of_a_block_that_runs_twice_are_saved_and_merged(preset, tmp_path):
    df = table(TEXTS * 3)
    text = mm.Text("t", preset("albert")[0], LENGTH, "cls", trainable="lora", lora_rank=2)
    pipe = mm.Pipeline([text], mm.MultiClass("y"), units=4)
    pipe.fit(df, validation_data=False, epochs=2, verbose=0)
    expected = pipe.predict(df)
    pipe.save(tmp_path / "saved")
    np.testing.assert_array_equal(mm.load(tmp_path / "saved").predict(df), expected)
    pipe.export(tmp_path / "served")
    serve = tf.saved_model.load(str(tmp_path / "served")).signatures["serve"]
    np.testing.assert_allclose(serve(t=tf.constant(df["t"].tolist()))["y"], expected, atol=1e-5)


def test_a_model_is_fitted_saved_loaded_and_served(preset, tmp_path):
    """One of byte pairs, one that is stored whole, and half of one."""
    df = table()
    texts = [mm.Text("t", preset(family)[0], LENGTH, name=family) for family in ("roberta", "deberta_v3", "siglip")]
    pipe = mm.Pipeline(texts, mm.MultiClass("y"), units=4, encode_engine="tensorflow")
    pipe.fit(df, epochs=1, verbose=0)
    expected = pipe.predict(df)
    pipe.save(tmp_path / "model")
    np.testing.assert_allclose(mm.load(tmp_path / "model").predict(df), expected, atol=1e-6)
    pipe.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve({"t": tf.constant(df["t"])})["y"], expected, atol=1e-5)


# === Sentences ===


@pytest.mark.parametrize(("pooling", "unit"), [("mean", True), ("cls", False)])
def test_sentences_are_pooled_as_their_preset_says(preset, tmp_path, pooling, unit):
    _, backbone, tokenizer = preset("bert")
    preprocessor = models.BertTextEmbedderPreprocessor(tokenizer, sequence_length=LENGTH)
    embedder = models.BertTextEmbedder(backbone, preprocessor, pooling_mode=pooling, normalize=unit)
    embedder.save_to_preset(str(tmp_path))
    expected = embedder(preprocessor(tf.constant([f"query: {text}" for text in TEXTS]))).numpy()
    modality = mm.Text("t", str(tmp_path), LENGTH, "sentence", prefix="query: ")
    np.testing.assert_allclose(features(modality, table())(table()), expected, atol=1e-5)
    assert np.allclose(np.linalg.norm(expected, axis=1), 1) == unit


def test_sentences_of_other_presets_are_means_or_shared_vectors_of_length_1(preset):
    for family, usual in (("f_net", "mean"), ("siglip", "pooled")):
        folder, *parts = preset(family)
        expected = by_hand(family, *parts)[usual]
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(
            features(mm.Text("t", folder, LENGTH, "sentence"), table())(table()), expected, atol=1e-5
        )


def test_an_empty_text_is_absent_behind_a_prefix_too(preset):
    adapted = mm.Text("t", preset("bert")[0], LENGTH, prefix="query: ").adapt(table())
    tensors = mm.build_prepare([adapted])(adapted.raw_values(table()))
    assert tensors["text.present"].numpy().ravel().tolist() == [1, 1, 1, 0, 1]


def test_layers_of_texts_and_tokens_by_hand():
    assert FormText("q ", lower=True, bare=True)(tf.constant(["A-b,  c!"])).numpy().tolist() == [b"q ab c"]
    ids = np.array([[5, 6]], "int32")
    padded = PadTokens(4, pad_id=9)({"token_ids": ids, "padding_mask": ids * 0 + 1, "segment_ids": ids * 0})
    assert {key: x.numpy().tolist() for key, x in padded.items()} == {
        "token_ids": [[5, 6, 9, 9]], "padding_mask": [[1, 1, 0, 0]], "segment_ids": [[0, 0, 0, 0]],
    }  # fmt: skip
    for layer in (FormText("q ", True, True), PadTokens(4, 9)):
        assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
    tokenizer = models.BertTokenizer(vocabulary=words(), lowercase=True)
    tokens = Tokenize(tokenizer, None, 3, sequence_length=8)(tf.constant(["a b"]))
    assert tokens["token_ids"].numpy().tolist() == [[5, 6, 3]]


# === Errors ===


def test_settings_that_do_not_go_with_a_preset_are_refused(preset):
    df = table()
    with pytest.raises(
        ValueError, match=f"reads the last of all positions, must be {LENGTH}. Received: 16. Use {LENGTH}"
    ):
        features(mm.Text("t", preset("siglip")[0], 16), df)
    with pytest.raises(ValueError, match="must be at most the positions of .*, which has 24. Received: 256"):
        features(mm.Text("t", preset("clip")[0], 256), df)
    with pytest.raises(ValueError, match="text half of an image-text preset reads one column"):
        mm.Text(["t", "y"], preset("clip")[0], LENGTH).adapt(df)
    with pytest.raises(ValueError, match="`layers` must be at most the number of blocks of .*, which has 0"):
        features(mm.Text("t", preset("deberta_v3")[0], LENGTH, layers=2), df)
    with pytest.raises(ValueError, match="`prefix` must be a str, and goes with a pretrained encoder. Received: 'q'"):
        mm.Text("t", "lexical", prefix="q")
    with pytest.raises(ValueError, match="`layers` must be 1 for `pooling='sentence'`"):
        mm.Text("t", pooling="sentence", layers=2)


def test_a_backbone_of_something_else_and_one_without_weights_are_refused(preset, tmp_path):
    _, _, tokenizer = preset("bert")
    models.ViTBackbone(
        image_shape=(16, 16, 3), patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8
    ).save_to_preset(str(tmp_path / "vit"))
    tokenizer.save_to_preset(str(tmp_path / "vit"))
    with pytest.raises(
        ValueError,
        match="must be a backbone of text.*a ViTBackbone, which reads.*Give one of images to `Image`|ViTBackbone",
    ):
        features(mm.Text("t", str(tmp_path / "vit")), table())
    bare = tmp_path / "bare"
    preset("bert")[1].save_to_preset(str(bare))
    tokenizer.save_to_preset(str(bare))
    (bare / "model.weights.h5").unlink()
    with pytest.raises(ValueError, match="directory must hold weights. Received"):
        features(mm.Text("t", str(bare), LENGTH), table())


def test_a_preset_that_cannot_be_downloaded_names_itself_and_the_folder(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(keras_hub.tokenizers.Tokenizer, "from_preset", fail)
    with pytest.raises(
        ValueError,
        match="'all_minilm_l6_v2_en', which failed with: no route to host.*kagglehub.*bring the preset's files",
    ):
        mm.Text("t", "all_minilm_l6_v2_en").adapt(table())


def test_causal_language_models_are_refused(tmp_path):
    tokenizer = models.GPT2Tokenizer(**byte_pairs(behind=["<|endoftext|>"]))
    size = {**SIZE, "vocabulary_size": tokenizer.vocabulary_size(), "max_sequence_length": LENGTH}
    models.GPT2Backbone(**size).save_to_preset(str(tmp_path))
    tokenizer.save_to_preset(str(tmp_path))
    with pytest.raises(ValueError, match="both sides of it. Received: .*, a GPT2Backbone, a causal language model"):
        mm.Text("t", str(tmp_path), LENGTH, "mean").adapt(table())


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_text_half_reads_as_many_tokens_as_it_takes_unless_told(preset, family):
    folder = preset(family)[0]
    assert mm.Text("t", folder).sequence_length is None
    assert mm.Text("t", folder).adapt(table()).length == LENGTH
    wanted = features(mm.Text("t", folder, LENGTH), table())(table())
    np.testing.assert_allclose(features(mm.Text("t", folder), table())(table()), wanted, atol=1e-6)
    with pytest.raises(ValueError, match=f"which has {LENGTH}. Received: 256. Use {LENGTH} or less"):
        features(mm.Text("t", folder, 256), table())


def test_other_texts_are_read_up_to_256_tokens_unless_told():
    assert mm.Text("t", "lexical").length == 256
    assert mm.Text("t", "lexical", 64).length == 64


def test_every_family_is_one_of_kerashub():
    assert all(hasattr(models, name) for name in FAMILIES)
    assert all(hasattr(models, family.preprocessor) for family in FAMILIES.values() if family.preprocessor)


# === Models of one's own ===


def own_model(path, length=6, shape=(), middle=()):
    """Word numbers, their embeddings, and the mean of these."""
    texts = keras.Input(shape, dtype="string")
    tokens = keras.layers.TextVectorization(output_sequence_length=length, vocabulary=["the", "lamp", "dogs"])(texts)
    vectors = keras.layers.Embedding(5, 4, embeddings_initializer="normal")(tokens)
    for layer in middle:
        vectors = layer(vectors)
    model = keras.Model(texts, keras.layers.GlobalAveragePooling1D()(vectors))
    model.save(path)
    return model


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_model_of_ones_own_reads_texts(tmp_path, shape):
    model = own_model(tmp_path / "own.keras", shape=shape)
    df = table(TEXTS * 4)
    modality = mm.Text("t", tmp_path / "own.keras")
    raw = tf.constant(df["t"].to_list())
    expected = model(raw if shape == () else raw[:, None]).numpy()
    np.testing.assert_allclose(features(modality, df)(df), expected, atol=1e-6)
    pipe = mm.Pipeline([modality], mm.MultiClass("y"), units=4)
    pipe.fit(df, epochs=1, verbose=0)
    said = pipe.predict(df)
    pipe.save(tmp_path / "model")
    (tmp_path / "own.keras").unlink()  # the tower is stored in the model
    np.testing.assert_allclose(mm.load(tmp_path / "model").predict(df), said, atol=1e-6)
    pipe.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve({"t": raw})["y"], said, atol=1e-3)


def test_a_model_of_ones_own_keeps_the_contract(tmp_path):
    own_model(tmp_path / "own.keras")
    df = pd.DataFrame({"t": [f"the lamp {'dogs ' * row}" for row in range(12)]})
    mm.testing.check_encoder(mm.Text("t", tmp_path / "own.keras"), df)
    mm.testing.check_encoder(mm.Text("t", tmp_path / "own.keras", trainable=True), df)


def rewritten(path, change):
    """The members of an archive, {name: bytes}, after `change` had them, in its place."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def reaching_out(members):
    members["../outside.txt"] = b"x"


def naming_a_file(members):
    config = json.loads(members["config.json"])
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "TextVectorization":
            layer["config"]["vocabulary"] = "/etc/hostname"
    members["config.json"] = json.dumps(config).encode()


def claiming_much(members):
    config = json.loads(members["config.json"])
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "Embedding":
            layer["config"]["input_dim"] = 10**9
    members["config.json"] = json.dumps(config).encode()


def linking(members):
    stream = io.BytesIO(members["model.weights.h5"])
    with h5py.File(stream, "a") as weights:
        weights["elsewhere"] = h5py.ExternalLink("/tmp/other.h5", "/x")
    members["model.weights.h5"] = stream.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (reaching_out, r"holds '\.\./outside.txt'"),
        (naming_a_file, "names a file in 'vocabulary': '/etc/hostname'"),
        (claiming_much, "layers whose weights take 16,000,000,000 bytes"),
        (linking, "has a link 'elsewhere' in model.weights.h5"),
    ],
)
def test_a_model_of_somebody_else_is_looked_at_before_it_is_opened(tmp_path, monkeypatch, change, message):
    own_model(tmp_path / "own.keras")
    rewritten(tmp_path / "own.keras", change)
    monkeypatch.setattr(keras.models, "load_model", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(ValueError, match=f"must be a file as Keras writes it.*failed with: .*{message}"):
        features(mm.Text("t", tmp_path / "own.keras"), table())


def test_models_of_ones_own_that_cannot_be_used_are_refused(tmp_path):
    df = table()
    with pytest.raises(FileNotFoundError, match="file that does not exist. Received: 'gone.keras'"):
        features(mm.Text("t", "gone.keras"), df)
    own_model(tmp_path / "lambda.keras", middle=[keras.layers.Lambda(lambda x: x * 2)])
    with pytest.raises(ValueError, match="without running code of the file, so no Lambda. Received"):
        features(mm.Text("t", tmp_path / "lambda.keras"), df)
    pixels = keras.Input((8, 8, 3))
    keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(pixels)).save(tmp_path / "pixels.keras")
    with pytest.raises(
        ValueError, match=r"`encoder` of `Text` must take strings .*which takes \[\('float32', \(None, 8, 8, 3\)\)\]"
    ):
        features(mm.Text("t", tmp_path / "pixels.keras"), df)
    own_model(tmp_path / "varying.keras", length=None)
    with pytest.raises(ValueError, match="must turn strings into numbers of a fixed length.*output_sequence_length"):
        features(mm.Text("t", tmp_path / "varying.keras"), df)
    with pytest.raises(
        ValueError,
        match="`trainable` must be a bool or 'lora', `layers` 1, and `pooling` not None. Received: 2, 1 and 'cls'",
    ):
        mm.Text("t", "own.keras", trainable=2)
    with pytest.raises(ValueError, match="`dtype` of a model of one's own is in its file"):
        mm.Text("t", "own.keras", dtype="bfloat16")
