"""Captions that a decoder draws for its images, rewarded: what a fitted caption head learns on from."""

import collections

import keras
import numpy as np
import tensorflow as tf

from mmkeras.decoding import Settings
from mmkeras.decoding.search import follow
from mmkeras.layers.words import END, PADDING, START

PACKAGE = "mmkeras"


def build_critic(head, column, reward, *, draws=5, max_length=64, seed=0):
    """A caption head and its words so far → the loss of captions that it draws, with the head's own weights.

    Args:
        head: keras.Model from `build_caption_head`.
        column: name of the target.
        reward: see `SelfCritic`.
        draws, max_length, seed: see `SelfCritic`.

    Returns:
        keras.Model from what the head reads to {column: (N, 2)}, see `SelfCritic`; to be compiled with `DrawnLoss`.
    """
    names = ("patches", "patch_mask")
    patches, mask = (head.get_layer(name).output for name in names)
    words, row = (head.input[f"{column}.{name}"] for name in ("tokens", "row"))
    settings = {"draws": draws, "max_length": max_length, "seed": seed}
    critic = SelfCritic(head.get_layer("decoder"), reward, **settings, dtype="float32", name="critic")
    return keras.Model(head.input, {column: critic(patches, mask, words, row)}, name="critic")


def words_of_numbers(tokens):
    """Numbers of a caption's words, and one end behind them.

    Args:
        tokens: (T,) ints, which may hold a start, an end and padding.

    Example:
        >>> words_of_numbers([2, 7, 5, 0, 0])
        [7, 5, 3]
    """
    return [*(int(number) for number in tokens if number not in (PADDING, START, END)), END]


@keras.saving.register_keras_serializable(PACKAGE)
class SelfCritic(keras.layers.Layer):
    """Draws captions of each image, and makes those more likely that are better than the image's others.

    loss = Σ a · −log p(word) / words, over all words of all drawn captions, where a is the reward of a caption less the mean
    reward of its image's other draws. It is self-critical sequence training (Rennie et al., 2017,
    https://arxiv.org/abs/1612.00563) with the mean for comparison (Luo, 2020, https://arxiv.org/abs/2003.09971).

    Args:
        decoder: a built `CaptionDecoder`, whose weights train, or its serialised form.
        reward: function of (list of drawn captions of an image, list of the image's references) to a list of floats, all as lists
            of word numbers that end with the end; or its serialised form.
        draws: int, captions of each image, at least 2.
        max_length: int, the most words of them, the end among them.
        seed: int.

    Call arguments:
        patches: (B, P, W). patch_mask: (B, P).
        tokens: (N, T) ints, references. row: (N,) ints, of which image each tells.

    Returns:
        (B · draws, 2): the loss, which is the same in each row, and the reward of each caption.

    Raises:
        ValueError: fewer than two draws.
    """

    def __init__(self, decoder, reward, *, draws=5, max_length=64, seed=0, **kwargs):
        super().__init__(**kwargs)
        if isinstance(draws, bool) or not isinstance(draws, int) or draws < 2:
            raise ValueError(
                f"`draws` must be an int of at least 2. Received: {draws!r}. Each caption is compared with the others."
            )
        restore = keras.saving.deserialize_keras_object
        self.decoder = restore(decoder) if isinstance(decoder, dict) else decoder
        self.reward = restore(reward) if isinstance(reward, dict) else reward
        self.draws, self.max_length, self.seed = draws, max_length, seed
        self.settings = Settings(method="sample", max_length=max_length)
        self._random = keras.random.SeedGenerator(seed)
        self.supports_jit = False  # the number of words is known when they are drawn

    def build(self, patches_shape, patch_mask_shape, tokens_shape, row_shape):
        if not self.decoder.built:
            self.decoder.build(tokens_shape, patches_shape, patch_mask_shape)

    def call(self, patches, patch_mask, tokens, row, training=None):
        image = tf.repeat(tf.range(tf.shape(patches)[0]), self.draws)
        drawn = tf.stop_gradient(self._draw(tf.gather(patches, image), tf.gather(patch_mask, image)))  # (B · draws, T)
        rewards = tf.numpy_function(self._rewards, [drawn, tokens, row], tf.float32)
        rewards = tf.ensure_shape(rewards, (None,))
        own = tf.reshape(rewards, (-1, self.draws))
        # r − mean of the others = (r − mean of all) · draws / (draws − 1)
        ahead = (own - tf.reduce_mean(own, axis=1, keepdims=True)) * (self.draws / (self.draws - 1))
        words = tf.concat([tf.fill([tf.shape(drawn)[0], 1], START), drawn[:, :-1]], axis=1)
        logits = tf.cast(self.decoder(words, patches, patch_mask, image, training=training), tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(drawn, logits)
        real = tf.cast(drawn != PADDING, tf.float32)
        loss = tf.reduce_sum(losses * real * tf.reshape(ahead, (-1, 1))) / tf.reduce_sum(real)
        return tf.stack([tf.fill(tf.shape(rewards), loss), rewards], axis=1)

    def _draw(self, patches, patch_mask):
        """(N, T) ints, as long as the longest."""
        shape = tf.shape(patches)[0], self.max_length
        chances = tf.random.stateless_uniform(shape, tf.cast(self._random.next(), tf.int64))
        drawn = follow(self.decoder, tf.stop_gradient(patches), patch_mask, self.settings, chances=chances)["tokens"]
        return drawn[:, : tf.reduce_max(tf.reduce_sum(tf.cast(drawn != PADDING, tf.int32), axis=1))]

    def _rewards(self, drawn, tokens, row):
        """(B · draws,) float32."""
        references = collections.defaultdict(list)
        for number, words in zip(row, tokens, strict=True):
            references[int(number)].append(words_of_numbers(words))
        written = [words_of_numbers(words) for words in drawn]
        starts = range(0, len(written), self.draws)
        rewards = [
            self.reward(written[start : start + self.draws], references[image]) for image, start in enumerate(starts)
        ]
        return np.array(rewards, "float32").reshape(-1)

    def compute_output_spec(self, patches, patch_mask, tokens, row, training=None):
        return keras.KerasTensor((None, 2), "float32")

    def get_config(self):
        kept = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in ("decoder", "reward")}
        settings = {"draws": self.draws, "max_length": self.max_length, "seed": self.seed}
        return {**super().get_config(), **kept, **settings}


@keras.saving.register_keras_serializable(PACKAGE)
class DrawnLoss(keras.losses.Loss):
    """The loss that `SelfCritic` gives; answers count for nothing, as the critic has read them."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        return keras.ops.mean(y_pred[:, 0])


@keras.saving.register_keras_serializable(PACKAGE)
class DrawnReward(keras.metrics.Mean):
    """The mean reward of the captions that `SelfCritic` drew."""

    def __init__(self, name="reward", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(y_pred[:, 1])
