"""Captions that are learnt on from draws of their own: the reward, the loss by hand, and what a call changes."""

import keras
import numpy as np
import pandas as pd
import pytest

import mmkeras as mm
from mmkeras.evaluation.sentences import Cider, ngrams
from mmkeras.heads.critic import DrawnLoss, SelfCritic, words_of_numbers
from mmkeras.layers.words import END
from mmkeras.tasks.refining import CiderReward

COLOURS, THINGS = ("red", "blue", "green"), ("dog", "cat")


@pytest.fixture(scope="module")
def df():
    """Rows of numbers that tell a colour and a thing, with two captions each."""
    rows = [(colour, thing) for colour in range(3) for thing in range(2)]
    captions = [
        [f"a {COLOURS[c]} {THINGS[t]} runs there", f"one {COLOURS[c]} {THINGS[t]} that is running"] for c, t in rows
    ]
    numbers = np.array([[*np.eye(3)[c], *np.eye(2)[t]] for c, t in rows], "float32")
    return pd.DataFrame(numbers, columns=list("abcde")).assign(caption=captions)


@pytest.fixture(scope="module")
def pipe(df):
    modalities = [mm.Tabular(numeric=list("abc"), name="colour"), mm.Tabular(numeric=list("de"), name="thing")]
    pipe = mm.Pipeline(
        modalities, mm.Caption("caption", min_count=1, sequence_length=9), width=16, heads=2, dropout=0.0
    )
    pipe.fit(df, validation_data=False, epochs=12, batch_size=6, learning_rate=0.02, verbose=0)
    return pipe


def test_cider_of_one_text_is_that_of_all_texts_scored_together():
    texts = [["a dog runs", "dogs run"], ["the sea", "a blue sea"], ["a cat"]]
    written = ["a dog run", "the blue sea", "a dog"]
    scored = mm.score_captions(written, texts).table["cider"]
    cider = Cider([[ngrams(text.split()) for text in references] for references in texts])
    for text, references, value in zip(written, texts, scored, strict=True):
        values = cider([ngrams(text.split()), ngrams(["nothing"])], [ngrams(t.split()) for t in references])
        np.testing.assert_allclose(values, [value, 0.0], atol=1e-12)


def test_the_end_counts_as_a_word():
    reward = CiderReward([[[7, 5, END]], [[8, 9, END]]])
    whole, cut = reward([[7, 5, END], [7, END]], [[7, 5, END]])
    assert whole > cut > 0 and words_of_numbers([2, 7, 5, END, 0]) == words_of_numbers([2, 7, 5]) == [7, 5, END]


def critic_of(decoder, reward, **settings):
    patches = np.random.default_rng(0).normal(size=(2, 4, 8)).astype("float32")
    decoder(np.array([[2], [2]]), patches)
    tokens, row = np.array([[2, 5, 0], [2, 6, 7], [2, 4, 4]], "int32"), np.array([0, 1, 1], "int32")
    given = (patches, np.ones((2, 4), "float32"), tokens, row)
    return SelfCritic(decoder, reward, max_length=5, **settings), given


def test_the_loss_is_that_of_the_words_by_how_far_a_caption_is_ahead_of_the_others():
    seen = []

    def reward(drawn, references):
        seen.append((drawn, references))
        return [float(len(seen)), 0.0, 0.5]

    decoder = mm.layers.CaptionDecoder(12, width=8)
    layer, given = critic_of(decoder, reward, draws=3, seed=1)
    loss, rewards = layer(*given).numpy().T
    assert [references for _, references in seen] == [[[5, END]], [[6, 7, END], [4, 4, END]]]
    assert rewards.tolist() == [1.0, 0.0, 0.5, 2.0, 0.0, 0.5] and np.ptp(loss) == 0
    ahead = [1 - 0.25, -0.75, 0.0, 2 - 0.25, -1.25, 0.5 - 1.0]
    total, words = 0.0, 0
    captions = [words for drawn, _ in seen for words in drawn]
    for number, (weight, drawn) in enumerate(zip(ahead, captions, strict=True)):
        drawn = drawn[:5]  # one that reached no end has none
        logits = decoder(np.array([[2, *drawn[:-1]]]), given[0][number // 3][None])[0]
        logs = keras.ops.log_softmax(logits).numpy()
        total -= weight * sum(logs[place, word] for place, word in enumerate(drawn))
        words += len(drawn)
    np.testing.assert_allclose(loss[0], total / words, rtol=1e-4)


def test_draws_of_equal_worth_teach_nothing():
    layer, given = critic_of(mm.layers.CaptionDecoder(12, width=8), lambda drawn, references: [0.7] * len(drawn))
    np.testing.assert_allclose(layer(*given)[:, 0], 0.0, atol=1e-6)


def test_the_critic_keeps_its_settings():
    layer, given = critic_of(mm.layers.CaptionDecoder(12, width=8), CiderReward([[[5, END]], [[6, END]]]), draws=4)
    again = SelfCritic.from_config(layer.get_config())
    again(*given)
    assert again.get_config() == layer.get_config() and again.reward([[5, END]], [[5, END]]) == [5.0]
    assert DrawnLoss.from_config(DrawnLoss().get_config())(0, np.array([[2.0, 9.0]])) == 2.0


def test_drawn_captions_come_to_score_better(pipe, df):
    before = pipe.head.get_weights()
    settings = {"epochs": 20, "batch_size": 12, "learning_rate": 0.02, "draws": 16, "verbose": 0}
    history = mm.refine_captions(pipe, df, validation_data=df, **settings).history
    assert np.mean(history["reward"][-5:]) > 1.1 * np.mean(history["reward"][:5])
    assert len(history["val_cider"]) == 20 and not np.array_equal(before[0], pipe.head.get_weights()[0])


def test_a_call_that_fails_changes_nothing(pipe, df):
    def fail(epoch, logs):
        raise KeyboardInterrupt

    before = [*pipe.head.get_weights(), *pipe.encode.get_weights()]
    with pytest.raises(KeyboardInterrupt):
        mm.refine_captions(pipe, df, verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=fail)])
    assert all(map(np.array_equal, before, [*pipe.head.get_weights(), *pipe.encode.get_weights()]))


def test_what_cannot_be_refined_is_refused(pipe, df):
    with pytest.raises(ValueError, match=r"`draws` must be an int of at least 2. Received: 1."):
        mm.refine_captions(pipe, df, draws=1)
    other = mm.Pipeline([mm.Tabular(numeric=["a", "b"])], mm.Regression("c"))
    other.fit(df, validation_data=False, epochs=1, verbose=0)
    with pytest.raises(ValueError, match=r"`refine_captions` refines captions. Received: a Pipeline for Regression"):
        mm.refine_captions(other, df)
