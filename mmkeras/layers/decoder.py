"""The layer that writes captions: a GRU over words, with attention over the patches of an image."""

import keras

PACKAGE = "mmkeras"
FIRST_STATES = ("zeros", "patches")


@keras.saving.register_keras_serializable(PACKAGE)
class CaptionDecoder(keras.layers.Layer):
    """Words so far and an image's patches → logits of the next word: (B, T) and (B, P, W) → (B, T, V).

    Embedding → GRU; its output is the query of a dot-product attention over the patches; both are added, normalised, and
    brought to V logits. With the defaults these are the tutorial's 22,076,960 parameters. A logit depends on the words
    up to its own place only, so padding behind a caption changes nothing of it.

    Args:
        vocabulary_size: int, V.
        width: int, W, of embedding, state and patches.
        dropout: float, share of embedded and of normalised features left out in training.
        tied: bool, whether the embedding serves as output matrix too, which halves the parameters.
        heads: None for attention on the features as they are, unscaled, as in the tutorial; an int that divides W for
            scaled attention with learned projections, whose patches may then have any width.
        first_state: "zeros", or "patches" for a state learnt from the mean of the patches.

    Call arguments:
        tokens: (B, T) ints, the start first.
        patches: (B, P, W).
        patch_mask: None, or (B, P), 1 where there is a patch. An image without patches attends to nothing.
        image: None, or (N,) ints, of which of the B images each of N sequences of tokens tells.

    Raises:
        ValueError: a setting outside the above; patches of another rank, or of another width without `heads`.

    Example:
        >>> import numpy as np
        >>> decoder = CaptionDecoder(20_000)
        >>> decoder(np.array([[2, 9, 14]]), np.zeros((1, 64, 512))).shape
        TensorShape([1, 3, 20000])
        >>> decoder.count_params()
        22076960
    """

    def __init__(
        self, vocabulary_size, width=512, dropout=0.0, tied=False, heads=None, first_state="zeros", **kwargs
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.vocabulary_size, self.width, self.dropout = vocabulary_size, width, dropout
        self.tied, self.heads, self.first_state = tied, heads, first_state
        self._check_settings()

        def own(kind, name, **settings):
            return kind(dtype=self.dtype_policy, name=name, **settings)

        self.embedding = own(keras.layers.Embedding, "embedding", input_dim=vocabulary_size, output_dim=width)
        self.gru = own(keras.layers.GRU, "gru", units=width, return_sequences=True)
        self.norm = own(keras.layers.LayerNormalization, "norm")
        self.drop = own(keras.layers.Dropout, "drop", rate=dropout)
        self.output_layer = None if tied else own(keras.layers.Dense, "output", units=vocabulary_size)
        self.state_layer = None
        if first_state == "patches":
            self.state_layer = own(keras.layers.Dense, "first_state", units=width, activation="tanh")
        self.projections = {}
        if heads:
            self.projections = {
                name: own(keras.layers.Dense, name, units=width) for name in ("query", "key", "value", "answer")
            }

    def _check_settings(self):
        for name in ("vocabulary_size", "width"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` of CaptionDecoder must be a positive int. Received: {value!r}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` of CaptionDecoder must lie in [0, 1). Received: {self.dropout!r}.")
        heads, width = self.heads, self.width
        if heads is not None and (isinstance(heads, bool) or not isinstance(heads, int) or heads < 1 or width % heads):
            raise ValueError(
                f"`heads` must be None or an int that divides `width`. Received: {heads!r} heads, width {width}."
            )
        if self.first_state not in FIRST_STATES:
            raise ValueError(f"`first_state` must be one of {FIRST_STATES}. Received: {self.first_state!r}.")

    def build(self, tokens_shape, patches_shape, patch_mask_shape=None, image_shape=None):
        if len(patches_shape) != 3 or (not self.heads and patches_shape[-1] != self.width):
            raise ValueError(
                f"CaptionDecoder attends over patches of shape (B, P, {self.width}). Received: {tuple(patches_shape)}. "
                f"Flatten the grid, and bring it to {self.width} features with a Dense layer, or set `heads`."
            )
        hidden = (tokens_shape[0], None, self.width)
        self.embedding.build(tokens_shape)
        self.gru.build(hidden)
        self.norm.build(hidden)
        if self.tied:
            self.bias = self.add_weight(shape=(self.vocabulary_size,), initializer="zeros", name="bias")
        else:
            self.output_layer.build(hidden)
        if self.state_layer is not None:
            self.state_layer.build((patches_shape[0], patches_shape[-1]))
        for name, layer in self.projections.items():
            layer.build(patches_shape if name in ("key", "value") else hidden)

    def call(self, tokens, patches, patch_mask=None, image=None, training=None):
        seen = self.initial_state(patches, patch_mask), *self.project(patches), patch_mask
        if image is not None:  # what is computed of an image serves all of its captions
            seen = [None if values is None else keras.ops.take(values, image, axis=0) for values in seen]
        state, keys, values, patch_mask = seen
        words = self.drop(self.embedding(tokens), training=training)  # (N, T, W)
        hidden = self.gru(words, initial_state=state, training=training)
        hidden, _ = self._look(hidden, (keys, values), patch_mask)
        return self.logits(self.drop(hidden, training=training))

    # === One step: what `mmkeras.decoding` is made of ===

    def initial_state(self, patches, patch_mask=None):
        """The GRU's state before the first word: (B, P, W) → (B, W)."""
        if self.state_layer is None:
            return keras.ops.zeros((keras.ops.shape(patches)[0], self.width), self.compute_dtype)
        patches = keras.ops.cast(patches, self.compute_dtype)
        if patch_mask is None:
            return self.state_layer(keras.ops.mean(patches, axis=1))
        mask = keras.ops.cast(patch_mask, patches.dtype)[:, :, None]
        return self.state_layer(
            keras.ops.sum(patches * mask, axis=1) / keras.ops.maximum(keras.ops.sum(mask, axis=1), 1)
        )

    def project(self, patches):
        """(keys, values) of the attention, each (B, P, W): computed once an image, not once a word."""
        patches = keras.ops.cast(patches, self.compute_dtype)
        if not self.heads:
            return patches, patches
        return self.projections["key"](patches), self.projections["value"](patches)

    def advance(self, tokens, state, projected, patch_mask=None):
        """One word on, for Q sequences of every image, which share its patches.

        Args:
            tokens: (B, Q) ints, the last word of each sequence.
            state: (B, Q, W).
            projected: what `project` returned.
            patch_mask: None or (B, P).

        Returns:
            (features for `logits` (B, Q, W), state (B, Q, W), attention weights (B, Q, P)).
        """
        words = keras.ops.reshape(self.embedding(tokens), (-1, self.width))
        state, _ = self.gru.cell(words, [keras.ops.reshape(state, (-1, self.width))])
        state = keras.ops.reshape(state, (-1, tokens.shape[1], self.width))
        hidden, weights = self._look(state, projected, patch_mask)
        return hidden, state, weights

    def logits(self, hidden):
        """(…, W) → (…, V)."""
        if not self.tied:
            return self.output_layer(hidden)
        table = keras.ops.cast(self.embedding.embeddings, hidden.dtype)  # (V, W)
        return keras.ops.matmul(hidden, keras.ops.transpose(table)) + keras.ops.cast(self.bias, hidden.dtype)

    def step(self, tokens, state, patches, patch_mask=None):
        """One word on: (B,) ints, (B, W), (B, P, W) → logits (B, V), state (B, W), attention weights (B, P)."""
        hidden, state, weights = self.advance(tokens[:, None], state[:, None], self.project(patches), patch_mask)
        return self.logits(hidden)[:, 0], state[:, 0], weights[:, 0]

    def _look(self, hidden, projected, patch_mask):
        """(B, Q, W) → the same with what it saw in the patches, normalised, and how it looked: (B, Q, P)."""
        keys, values = projected
        heads, ops = self.heads or 1, keras.ops

        def by_head(x):
            x = ops.reshape(x, (-1, x.shape[1] or ops.shape(x)[1], heads, self.width // heads))
            return ops.transpose(x, (0, 2, 1, 3))  # (B, heads, ·, W/heads)

        if self.heads:
            query, keys, values = map(by_head, (self.projections["query"](hidden), keys, values))
            query = query / (self.width // heads) ** 0.5
        else:
            query, keys, values = hidden[:, None], keys[:, None], values[:, None]
        scores = ops.cast(ops.matmul(query, ops.transpose(keys, (0, 1, 3, 2))), "float32")  # (B, heads, Q, P)
        if patch_mask is None:
            weights = ops.softmax(scores)
        else:
            mask = ops.cast(patch_mask, "bool")[:, None, None, :]
            weights = ops.where(mask, ops.softmax(ops.where(mask, scores, -1e9)), 0.0)
        weights = ops.cast(weights, hidden.dtype)
        seen = ops.matmul(weights, values)  # (B, heads, Q, W/heads)
        if self.heads:
            seen = ops.reshape(ops.transpose(seen, (0, 2, 1, 3)), ops.shape(hidden))
            seen = self.projections["answer"](seen)
        else:
            seen = seen[:, 0]
        return self.norm(hidden + seen), ops.mean(weights, axis=1)

    def compute_output_shape(self, tokens_shape, patches_shape, patch_mask_shape=None, image_shape=None):
        return (*tokens_shape[:2], self.vocabulary_size)

    def get_config(self):
        settings = ("vocabulary_size", "width", "dropout", "tied", "heads", "first_state")
        return {**super().get_config(), **{name: getattr(self, name) for name in settings}}


@keras.saving.register_keras_serializable(PACKAGE)
class PatchPositions(keras.layers.Layer):
    """Adds to each patch what is learnt of its place in the grid: (B, P, W) → (B, P, W).

    Attention by itself cannot tell where a patch lies, and so not what is left of what. The learned position embedding of
    Vaswani et al., 2017 (https://arxiv.org/abs/1706.03762).

    Raises:
        ValueError: patches whose number is not fixed.

    Example:
        >>> import numpy as np
        >>> PatchPositions()(np.zeros((2, 49, 8), "float32")).shape
        TensorShape([2, 49, 8])
    """

    def build(self, patches_shape):
        if len(patches_shape) != 3 or patches_shape[1] is None:
            raise ValueError(
                f"PatchPositions needs patches (B, P, W) of a fixed number P. Received: {tuple(patches_shape)}. "
                "Leave it out for sequences of any length."
            )
        normal = keras.initializers.RandomNormal(stddev=0.1)
        self.places = self.add_weight(shape=patches_shape[1:], initializer=normal, name="places")

    def call(self, patches):
        return patches + keras.ops.cast(self.places, patches.dtype)

    def compute_output_shape(self, patches_shape):
        return patches_shape
