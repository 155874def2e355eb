"""How alike rows are to rows that a model keeps."""

import keras
import numpy as np
import tensorflow as tf

PACKAGE = "mmkeras"
EXACT = "float64"  # what is large is taken from what is large


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

    def build(self, vectors_shape=(), bags_shape=()):
        self._shapes = {"vectors_shape": vectors_shape, "bags_shape": bags_shape}
        if len(bags_shape) != len(self.terms):
            raise ValueError(f"Alike takes {len(self.terms)} bags, as `terms` says. Received: {len(bags_shape)}.")
        fixed = {"trainable": False, "initializer": "zeros"}
        self.widths = self.add_weight(shape=(len(vectors_shape) + len(self.terms),), name="widths", **fixed)
        self._sizes = [min(shape[0][-1] or self.most_terms, self.most_terms) for shape in bags_shape]
        self.vectors = self.add_weight(shape=(self.rows, sum(s[-1] for s in vectors_shape)), name="vectors", **fixed)
        size = (self.rows, sum(self._sizes))
        self.ids = self.add_weight(shape=size, dtype="int32", name="ids", **fixed)
        self.weighed = self.add_weight(shape=size, name="weights", **fixed)

    def get_build_config(self):
        return {"shapes_dict": self._shapes}  # all of them: Keras names none of an empty list

    def keep(self, widths, vectors, bags):
        """Set the γ and the N rows that are kept.

        Args:
            widths: (blocks,) floats, of vectors first.
            vectors: list of (N, D_m) arrays.
            bags: list of [(N, T) ids, (N, T) weights].
        """
        self.widths.assign(widths)
        bags = [heaviest(*bag, size) for bag, size in zip(bags, self._sizes, strict=True)]
        x, ids, weights = self._scaled([tf.constant(x) for x in vectors], [list(map(tf.constant, b)) for b in bags])
        for weight, values in ((self.vectors, x), (self.ids, ids), (self.weighed, weights)):
            if values is not None:
                weight.assign(values)

    def _scaled(self, vectors, bags):
        """Blocks times √γ side by side, so that one distance is the sum of theirs: (B, ΣD), (B, ΣT) ids and weights; None for none."""
        scales, count, first = tf.sqrt(tf.cast(self.widths, EXACT)), len(vectors), 0
        x = [tf.cast(x, EXACT) * scales[place] for place, x in enumerate(vectors)]
        ids, weights = [], []
        for place, ((own, weight), size) in enumerate(zip(bags, self.terms, strict=True), count):
            ids.append(tf.cast(own, tf.int32) + first)
            weights.append(tf.cast(weight, EXACT) * scales[place])
            first += size
        return [tf.concat(parts, axis=-1) if parts else None for parts in (x, ids, weights)]

    def call(self, vectors, bags=()):
        x, ids, weights = self._scaled(vectors, bags)
        apart = 0.0
        if x is not None:
            kept = tf.cast(self.vectors, EXACT)
            apart += _distances(x, kept, tf.matmul(x, kept, transpose_b=True))
        if ids is not None:
            kept_ids, kept = tf.convert_to_tensor(self.ids), tf.cast(self.weighed, EXACT)
            apart += _distances(weights, kept, _products(ids, weights, kept_ids, kept, size=sum(self.terms)))
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
