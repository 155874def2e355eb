"""Decoding: against a loop written in NumPy, against teacher forcing, alone and in a batch, and what is forbidden."""

import itertools
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras.decoding import DecodeCaptions, decode, layer
from mmkeras.layers import CaptionDecoder, CaptionText, learn_vocabulary
from mmkeras.layers.words import END, START, UNKNOWN

WORDS, WIDTH, PATCHES, ROWS, STEPS = 12, 8, 5, 6, 7
VARIANTS = {
    "plain": {},
    "everything": {"tied": True, "heads": 2, "first_state": "patches", "dropout": 0.2},
}


def patches_of(rows=ROWS, seed=3):
    return np.random.default_rng(seed).normal(size=(rows, PATCHES, WIDTH)).astype("float32")


def decoder_of(end=0.0, **settings):
    """A decoder whose captions differ and end at various lengths."""
    keras.utils.set_random_seed(5)
    decoder = CaptionDecoder(WORDS, WIDTH, **settings)
    decoder(np.array([[START]]), patches_of(1))
    rng = np.random.default_rng(0)
    for weight in decoder.trainable_weights:
        if not weight.path.endswith("gamma"):
            weight.assign(rng.normal(size=weight.shape) * (0.6 if len(weight.shape) > 1 else 0.1))
    bias = decoder.bias if decoder.tied else decoder.output_layer.bias
    bias.assign(np.eye(WORDS)[END] * end)
    return decoder


@pytest.fixture(scope="module", params=VARIANTS)
def decoder(request):
    return decoder_of(end=0.8, **VARIANTS[request.param])


def log_softmax(logits):
    logits = np.asarray(logits, "float64")
    return (
        logits
        - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - logits.max(-1, keepdims=True)
    )


def forced(decoder, tokens, patches, mask=None):
    """Log-probability of each word of `tokens`, by one pass with teacher forcing: (B, T)."""
    read = np.concatenate([np.full((len(tokens), 1), START), tokens[:, :-1]], axis=1)
    logs = np.take_along_axis(log_softmax(decoder(read, patches, mask)), tokens[..., None], axis=-1)[..., 0]
    return np.where(tokens > 0, logs, 0)


def numpy_of(result):
    return {name: value.numpy() for name, value in result.items()}


def run(decoder, patches, mask=None, **settings):
    return numpy_of(decode(decoder, patches, mask, **{"max_length": STEPS, **settings}))


def assert_equal(one, two, atol=1e-5):
    for name, value in one.items():
        np.testing.assert_allclose(value, two[name], atol=atol, err_msg=name)


METHODS = {
    "greedy": {},
    "sample": {"method": "sample", "top_k": 6, "top_p": 0.9, "temperature": 1.5},
    "draws of all words": {"method": "sample"},
    "beam": {"method": "beam", "beam_width": 4},
    "beam, no repeats": {"method": "beam", "beam_width": 3, "forbid_repeats": 2},
}


def test_greedy_is_the_most_likely_word_step_by_step(decoder):
    patches = patches_of()
    got = run(decoder, patches)
    assert len(set(got["lengths"].tolist())) > 1
    for row in range(ROWS - 2):
        state, last, words = decoder.initial_state(patches[row : row + 1]), START, []
        for number in range(STEPS):
            logits, state, weights = decoder.step(tf.constant([last]), state, patches[row : row + 1])
            logs = log_softmax(logits)[0]
            logs_of_words = np.where(np.isin(np.arange(WORDS), [0, UNKNOWN, START]), -np.inf, logs)
            last = int(logs_of_words.argmax())
            words.append(last)
            assert got["step_log_probabilities"][row, number] == pytest.approx(logs[last], abs=1e-5)
            np.testing.assert_allclose(got["attention"][row, number], weights[0], atol=1e-5)
            if last == END:
                break
        assert got["tokens"][row].tolist() == words + [0] * (STEPS - len(words))
        assert got["lengths"][row] == len([word for word in words if word != END])
        assert (got["attention"][row, len(words) :] == 0).all()


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)
def test_scores_are_those_of_teacher_forcing(decoder, settings):
    patches = patches_of()
    got = run(decoder, patches, **settings)
    logs = forced(decoder, got["tokens"], patches)
    np.testing.assert_allclose(got["step_log_probabilities"], logs, atol=1e-4)
    np.testing.assert_allclose(got["log_probabilities"], logs.sum(1), atol=1e-4)
    np.testing.assert_allclose(got["attention"].sum(-1), got["tokens"] > 0, atol=1e-5)


@pytest.mark.parametrize("repeats", [0, 2])
def test_a_beam_of_one_is_greedy(decoder, repeats):
    patches = patches_of()
    one = run(decoder, patches, method="beam", beam_width=1, forbid_repeats=repeats)
    assert_equal(run(decoder, patches, forbid_repeats=repeats), one)


@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_beam_search_against_one_in_numpy(decoder, penalty):
    patches, width = patches_of(3), 3
    got = run(decoder, patches, method="beam", beam_width=width, length_penalty=penalty)

    def rank(beam):
        return beam[0] / max(len(beam[1]), 1) ** penalty

    for row in range(3):
        beams = [(0.0, [])]
        for _ in range(STEPS):
            longer = [beam for beam in beams if beam[1][-1:] == [END]]
            for score, words in beams:
                if words[-1:] != [END]:
                    logs = log_softmax(decoder(np.array([[START, *words]]), patches[row : row + 1]))[0, -1]
                    longer += [(score + logs[word], [*words, word]) for word in range(END, WORDS)]
            beams = sorted(longer, key=rank, reverse=True)[:width]
        assert [word for word in got["tokens"][row] if word] == beams[0][1]
        assert got["log_probabilities"][row] == pytest.approx(beams[0][0], abs=1e-4)


def test_a_wide_beam_finds_the_best_of_all_captions():
    decoder, patches = decoder_of(end=0.8), patches_of(2)
    got = run(decoder, patches, method="beam", beam_width=WORDS, length_penalty=0.0, max_length=2)
    everything = [(a, b) for a in range(END, WORDS) for b in range(END, WORDS) if a != END] + [(END, 0)]
    for row in range(2):
        repeated = np.repeat(patches[row : row + 1], len(everything), axis=0)
        logs = forced(decoder, np.array(everything), repeated).sum(1)
        assert tuple(got["tokens"][row]) == everything[int(logs.argmax())]


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)
def test_eager_and_compiled_are_equal(settings):
    decoder, patches = decoder_of(end=0.8), patches_of(3)
    compiled = run(decoder, patches, **settings)
    tf.config.run_functions_eagerly(True)
    try:
        assert_equal(compiled, run(decoder, patches, **settings))
    finally:
        tf.config.run_functions_eagerly(False)


def test_many_decoders_are_not_told_to_be_traced_too_often():
    """Each has a graph of its own, made once: TensorFlow took them for one that is made again and again."""
    told = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logger = logging.getLogger("tensorflow")
    logger.addHandler(handler)
    try:
        for length in range(2, 9):
            run(decoder_of(), patches_of(), max_length=length)
    finally:
        logger.removeHandler(handler)
    assert [text for text in told if "retracing" in text] == []


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)
def test_alone_and_in_a_batch_are_equal(settings):
    decoder, patches = decoder_of(end=0.8), patches_of()
    mask = np.arange(PATCHES) < np.array([5, 2, 3, 0, 4, 1])[:, None]
    whole = run(decoder, patches, mask, **settings)
    for row in (1, 3, 5):
        alone = run(decoder, patches[row : row + 1], mask[row : row + 1], rows=[row], **settings)
        assert_equal(alone, {name: value[row : row + 1] for name, value in whole.items()})


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)
def test_masked_patches_are_not_looked_at(decoder, settings):
    patches = patches_of()
    mask = np.arange(PATCHES) < np.array([5, 2, 3, 0, 4, 1])[:, None]
    before = run(decoder, patches, mask, **settings)
    assert (before["attention"][np.broadcast_to(~mask[:, None], before["attention"].shape)] == 0).all()
    assert_equal(before, run(decoder, np.where(mask[..., None], patches, 99.0).astype("float32"), mask, **settings), 0)
    assert np.abs(run(decoder, patches, **settings)["attention"] - before["attention"]).max() > 1e-3


def test_an_end_that_never_comes_keeps_the_last_word():
    decoder, patches = decoder_of(end=-1e9), patches_of()
    for settings in METHODS.values():
        got = run(decoder, patches, **settings)
        assert (got["lengths"] == STEPS).all() and (got["tokens"] > END).all()


def test_an_end_that_comes_at_once_is_an_empty_caption():
    decoder, patches = decoder_of(end=1e3), patches_of()
    for settings in METHODS.values():
        got = run(decoder, patches, **settings)
        assert (got["lengths"] == 0).all() and (got["tokens"] == [END] + [0] * (STEPS - 1)).all()


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)
def test_padding_and_start_never_come_and_unknown_only_if_allowed(settings):
    decoder, patches = decoder_of(), patches_of(40)
    decoder.output_layer.bias.assign([5.0, 4.0, 5.0] + [0.0] * (WORDS - 3))
    got = run(decoder, patches, **settings)["tokens"]
    given = got[np.arange(STEPS) < (got > 0).sum(1, keepdims=True)]  # padding stands at the end only
    assert (given >= END).all()
    got = run(decoder, patches, forbid_unknown=False, **settings)["tokens"]
    assert (got == UNKNOWN).any() and not (got == START).any()


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_repeats_are_forbidden(method):
    decoder, patches = decoder_of(end=-2.0), patches_of(15)

    def captions(repeats):
        got = run(decoder, patches, method=method, forbid_repeats=repeats, max_length=14)["tokens"]
        return [[int(word) for word in row if word > END] for row in got]

    def twice(captions, n):
        parts = [[tuple(row[i : i + n]) for i in range(len(row) - n + 1)] for row in captions]
        return any(len(set(part)) < len(part) for part in parts)

    assert any(a == b for row in captions(0) for a, b in itertools.pairwise(row))
    assert not any(a == b for row in captions(1) for a, b in itertools.pairwise(row))
    assert twice(captions(1), 2)
    for repeats in (2, 3):
        got = captions(repeats)
        assert not twice(got, repeats) and not any(a == b for row in got for a, b in itertools.pairwise(row))


def test_repeats_are_forbidden_when_captions_are_shorter_than_them():
    decoder, patches = decoder_of(end=-1e9), patches_of()
    assert (run(decoder, patches, forbid_repeats=5, max_length=3)["lengths"] == 3).all()


def test_draws_follow_the_chances():
    decoder, patches = decoder_of(), np.repeat(patches_of(1), 1500, axis=0)
    logits = decoder(np.array([[START]]), patches[:1]).numpy()[0, 0].astype("float64")
    ids = np.arange(END, WORDS)

    def share(**settings):
        drawn = run(decoder, patches, method="sample", max_length=1, **settings)["tokens"][:, 0]
        return np.bincount(drawn, minlength=WORDS)[ids] / len(drawn)

    def softmax(scores):
        return np.exp(scores) / np.exp(scores).sum()

    chances = softmax(logits[ids])
    np.testing.assert_allclose(share(), chances, atol=0.05)
    np.testing.assert_allclose(share(temperature=0.5), softmax(logits[ids] / 0.5), atol=0.05)
    best = np.argsort(-chances)
    for settings, count in (({"top_k": 3}, 3), ({"top_p": chances[best[:4]].sum() - 1e-3}, 4), ({"top_p": 1e-6}, 1)):
        wanted = np.zeros_like(chances)
        wanted[best[:count]] = chances[best[:count]] / chances[best[:count]].sum()
        shares = share(**settings)
        np.testing.assert_allclose(shares, wanted, atol=0.05)
        assert (shares[best[count:]] == 0).all()


def test_draws_are_seeded():
    decoder, patches = decoder_of(), patches_of(20)
    first, again, other = (run(decoder, patches, method="sample", seed=seed)["tokens"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    one = np.repeat(patches[:1], 20, axis=0)
    assert len(np.unique(run(decoder, one, method="sample")["tokens"], axis=0)) > 10  # rows draw for themselves


def test_mixed_precision_and_other_batches_need_no_other_graph():
    keras.utils.set_random_seed(0)
    decoder = CaptionDecoder(WORDS, WIDTH, dtype="mixed_bfloat16")
    decoder(np.array([[START]]), patches_of(1))
    for rows, seed in ((1, 0), (4, 1), (7, 2)):
        for method in ("greedy", "sample", "beam"):
            got = decode(decoder, patches_of(rows), method=method, max_length=STEPS, seed=seed)
            assert got["log_probabilities"].dtype == "float32" and got["tokens"].shape == (rows, STEPS)
    assert [f.experimental_get_tracing_count() for f in decoder._compiled_functions.values()] == [1, 1, 1]


def test_a_decoder_keeps_the_graphs_used_last(monkeypatch):
    monkeypatch.setattr(layer, "KEPT", 2)
    decoder = CaptionDecoder(WORDS, WIDTH)
    decoder(np.array([[START]]), patches_of(1))
    for length in (1, 2, 1, 3):
        decode(decoder, patches_of(1), max_length=length)
    assert [settings.max_length for settings, _ in decoder._compiled_functions] == [1, 3]


def test_a_trained_weight_shows_at_once_in_the_layer_and_the_function():
    decoder, patches = decoder_of(end=-1e9), patches_of(2)
    inputs = keras.Input((PATCHES, WIDTH))
    model = keras.Model(inputs, DecodeCaptions(decoder, max_length=3)(inputs))
    assert_equal(run(decoder, patches, max_length=3), numpy_of(model(patches)))
    decoder.output_layer.bias.assign(np.eye(WORDS)[END] * 1e3)
    assert (model(patches)["lengths"].numpy() == 0).all() and (run(decoder, patches)["lengths"] == 0).all()
    assert (model.predict(patches, verbose=0)["lengths"] == 0).all()


def test_a_layer_that_decodes_is_saved_and_exported(tmp_path):
    decoder, patches = decoder_of(end=0.8), patches_of(3)
    vocabulary = learn_vocabulary(["a b c d e f g h"])
    inputs = keras.Input((PATCHES, WIDTH), name="patches")
    found = DecodeCaptions(decoder, method="beam", beam_width=3, max_length=5)(inputs)
    model = keras.Model({"patches": inputs}, {"caption": CaptionText(vocabulary)(found["tokens"])})
    wanted = model({"patches": patches})["caption"].numpy().tolist()
    assert len(set(wanted)) > 1
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again({"patches": patches})["caption"].numpy().tolist() == wanted
    model.export(str(tmp_path / "served"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    assert served.serve({"patches": tf.constant(patches)})["caption"].numpy().tolist() == wanted


@pytest.mark.parametrize(("settings", "message"), [
    ({"method": "best"}, r"`method` must be one of .* Received: 'best'"),
    ({"method": "beam", "beam_width": 0}, "`beam_width` must be an int of at least 1. Received: 0"),
    ({"method": "beam", "beam_width": WORDS + 1}, "must not exceed the vocabulary of 12 words. Received: 13"),
    ({"method": "sample", "top_k": 0}, "`top_k` must be None or an int of at least 1. Received: 0"),
    ({"method": "sample", "top_p": 0.0}, r"`top_p` must be None or lie in \(0, 1\]. Received: 0.0"),
    ({"method": "sample", "top_p": 1.5}, r"`top_p` must be None or lie in \(0, 1\]. Received: 1.5"),
    ({"method": "sample", "temperature": 0.0}, "`temperature` must be above 0; use method='greedy'.*Received: 0.0"),
    ({"max_length": 0}, "`max_length` must be an int of at least 1. Received: 0"),
    ({"length_penalty": -1.0}, "`length_penalty` must be at least 0. Received: -1.0"),
    ({"forbid_repeats": -1}, "`forbid_repeats` must be an int of at least 0. Received: -1"),
    ({"forbid_repeats": True}, "`forbid_repeats` must be an int of at least 0. Received: True"),
    ({"seed": 0.5}, "`seed` must be an int. Received: 0.5"),
    ({"end": 12}, "`start` and `end` must be word numbers from 1 to 11. Received: 2 and 12"),
    ({"top_k": 3}, "belong to method='sample'. Received: top_k with method='greedy'"),
])  # fmt: skip
def test_settings_are_checked(settings, message):
    decoder = decoder_of()
    with pytest.raises(ValueError, match=message):
        decode(decoder, patches_of(1), **settings)
    with pytest.raises(ValueError, match=message):
        DecodeCaptions(decoder, **settings)


def test_a_decoder_without_weights_is_refused():
    with pytest.raises(ValueError, match="`decoder` must have weights before it decodes"):
        decode(CaptionDecoder(WORDS, WIDTH), patches_of(1))
