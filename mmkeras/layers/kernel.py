"""How alike rows are to rows that a model keeps."""

import keras
import numpy as np
import tensorflow as tf

PACKAGE = "mmkeras"
EXACT = "float64"


@keras.saving.register_keras_serializable(PACKAGE)
class Alike(keras.layers.Layer):
    """Likeness of rows to N rows that are kept: exp(−Σ_m γ_m |x_m − k_m|²) over blocks m of what rows have → (B, N).

    A block is a vector, or a bag of weighted terms: a long sparse vector, of which ids and weights are given. The rows that are kept, and
    the γ, are weights that no gradient reaches; `keep` sets them. It is the Gaussian kernel of machines that learn by likeness
    (Schölkopf & Smola, 2002).

    Args:
        rows: int, N.
        terms: list of ints, the vocabulary's size of each bag.
        most_terms: int, the most terms of a bag that are kept of a row, the heaviest.

    Call arguments:
        vectors: list of (B, D_m).
        bags: list of [(B, T) ids, (B, T) weights], one for each of `terms`; id 0 stands for no term.

    Raises:
        ValueError: rows or most_terms below 1; another number of bags.

    Example:
        >>> import numpy as np
        >>> from mmkeras.layers import Alike
        >>> alike, rows = Alike(2), np.array([[0.0], [2.0]], "float32")
        >>> alike.build([(None, 1)], [])
        >>> alike.keep(np.array([0.25]), [rows], [])
        >>> alike([rows], []).numpy().astype("float64").round(3).tolist()
        [[1.0, 0.368], [0.368, 1.0]]
    """

    def __init__(self, rows, terms=(), most_terms=96, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("rows", rows), ("most_terms", most_terms)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` of Alike must be a positive int. Received: {value!r}.")
        self.rows, self.terms, self.most_terms = rows, [int(size) for size in terms], most_terms

    def build(self, vectors_shape, bags_shape=()):
        if len(bags_shape) != len(self.terms):
            raise ValueError(f"Alike takes {len(self.terms)} bags, as `terms` says. Received: {len(bags_shape)}.")
        fixed = {"trainable": False, "initializer": "zeros"}
        self.widths = self.add_weight(shape=(len(vectors_shape) + len(self.terms),), name="widths", **fixed)
        self.vectors = [
            self.add_weight(shape=(self.rows, shape[-1]), name=f"vectors_{number}", **fixed)
            for number, shape in enumerate(vectors_shape)
        ]
        size, count = (self.rows, self.most_terms), range(len(self.terms))
        self.ids = [self.add_weight(shape=size, dtype="int32", name=f"ids_{number}", **fixed) for number in count]
        self.weighed = [self.add_weight(shape=size, name=f"weights_{number}", **fixed) for number in count]

    def keep(self, widths, vectors, bags):
        """Set the γ and the rows that are kept; fewer than N are filled up with copies of the last.

        Args:
            widths: (blocks,) floats, of vectors first.
            vectors: list of (N, D_m) arrays.
            bags: list of [(N, T) ids, (N, T) weights].
        """
        self.widths.assign(widths)
        for weight, values in zip(self.vectors, vectors, strict=True):
            weight.assign(values)
        for place, (ids, weights) in enumerate(bags):
            ids, weights = heaviest(ids, weights, self.most_terms)
            self.ids[place].assign(ids)
            self.weighed[place].assign(weights)

    def call(self, vectors, bags=()):
        apart, widths = 0.0, tf.cast(self.widths, EXACT)  # what is large is taken from what is large
        for place, (x, kept) in enumerate(zip(vectors, self.vectors, strict=True)):
            x, kept = tf.cast(x, EXACT), tf.cast(kept, EXACT)
            apart = apart + widths[place] * _distances(x, kept, tf.matmul(x, kept, transpose_b=True))
        for place, (ids, weights) in enumerate(bags):
            kept_ids, kept = tf.convert_to_tensor(self.ids[place]), tf.cast(self.weighed[place], EXACT)
            weights = tf.cast(weights, EXACT)
            products = _products(ids, weights, kept_ids, kept, size=self.terms[place])
            apart = apart + widths[len(self.vectors) + place] * _distances(weights, kept, products)
        return tf.cast(tf.exp(-apart), self.compute_dtype)

    def compute_output_spec(self, vectors, bags=()):
        every = [*vectors, *(ids for ids, _ in bags)]
        return keras.KerasTensor((every[0].shape[0], self.rows), self.compute_dtype)

    def get_config(self):
        settings = {"rows": self.rows, "terms": self.terms, "most_terms": self.most_terms}
        return {**super().get_config(), **settings}


def heaviest(ids, weights, most):
    """(N, most) ids and weights of the heaviest terms of bags, filled up with zeros."""
    ids, weights = np.asarray(ids), np.asarray(weights)
    if ids.shape[1] < most:
        wider = [(0, 0), (0, most - ids.shape[1])]
        return np.pad(ids, wider), np.pad(weights, wider)
    order = np.argsort(-weights, axis=1, kind="stable")[:, :most]
    return np.take_along_axis(ids, order, 1), np.take_along_axis(weights, order, 1)


def _distances(x, kept, products):
    """(B, N) squared distances from the products of rows with those that are kept."""
    own, others = (tf.reduce_sum(tf.square(values), axis=-1) for values in (x, kept))
    return tf.maximum(own[:, None] + others[None] - 2.0 * products, 0.0)


def _products(ids, weights, kept_ids, kept, *, size):
    """(B, N) products of bags of terms as sparse vectors of a size."""
    rows, count = tf.shape(ids)[0], tf.shape(kept)[0]
    place = tf.stack([tf.cast(ids, tf.int32), tf.broadcast_to(tf.range(rows)[:, None], tf.shape(ids))], axis=-1)
    dense = tf.scatter_nd(place, weights, tf.stack([size, rows]))  # (V, B)
    filled = tf.where(kept != 0.0)
    columns = tf.stack([filled[:, 0], tf.cast(tf.gather_nd(kept_ids, filled), tf.int64)], axis=1)
    sparse = tf.SparseTensor(columns, tf.gather_nd(kept, filled), tf.cast(tf.stack([count, size]), tf.int64))
    return tf.transpose(tf.sparse.sparse_dense_matmul(sparse, dense))
