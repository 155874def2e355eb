"""What a tower is, as 16 bytes: the graph, the settings, the weights and the vocabulary behind features."""

import concurrent.futures
import hashlib
import json
import pathlib
import tempfile

import keras
import numpy as np

from mmkeras.graph import all_layers, call_key, call_of, operation_of


def fingerprint(*models, loaded=False):
    """16 bytes that change when the graph, the settings, the weights or the vocabulary behind features change.

    Names of layers and of the modality do not count: they differ between processes and Pipelines.

    Args:
        *models: those that follow each other, such as `prepare` and a tower.
        loaded: bool, whether calls on tuples are taken for calls on lists, which they are once a model was saved and loaded. Keys of
            caches tell them apart, as they always did.
    """
    digest = hashlib.blake2b(digest_size=16)
    for model in models:
        _digest_graph(digest, model, loaded=loaded)
        for layer in all_layers(model):
            if hasattr(layer, "save_assets") and hasattr(layer, "load_assets"):
                with tempfile.TemporaryDirectory() as folder:
                    layer.save_assets(folder)
                    for file in sorted(pathlib.Path(folder).rglob("*")):
                        digest.update(file.read_bytes() if file.is_file() else b"")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for own in pool.map(_digest_weight, model.weights):
                digest.update(own)
    return digest.digest()


def _digest_weight(weight):
    # Most of the work of a fingerprint. SHA-256, as processors have instructions for it.
    digest = hashlib.sha256(f"{weight.shape}{weight.dtype}".encode())
    digest.update(np.ascontiguousarray(weight.numpy()).view(np.uint8).data)
    return digest.digest()


def _digest_graph(digest, model, keep=False, *, loaded=False):
    """Feed every operation with its settings and what it reads, numbered by the way from the outputs."""
    known = {id(tensor): f"input {key}" for key, tensor in _by_key(model.input, keep)}
    nodes = {}

    def label(value):
        if not isinstance(value, keras.KerasTensor):
            return repr(value)
        if id(value) not in known:
            operation, node = operation_of(value), call_of(value)
            reads = keras.tree.map_structure(label, [node.arguments.args, node.arguments.kwargs])
            reads = _as_lists(reads) if loaded else reads
            config = operation.get_config() if isinstance(operation, keras.layers.Layer) else {}
            if isinstance(operation, keras.Model):
                _digest_graph(digest, operation, keep=True, loaded=loaded)
                config = {}
            number = nodes.setdefault(call_key(value), len(nodes))
            text = json.dumps(_nameless(config), sort_keys=True, default=repr)
            digest.update(f"{number} {type(operation).__name__} {text} {reads};".encode())
            known.update({id(tensor): f"{number}.{i}" for i, tensor in enumerate(node.output_tensors)})
        return known[id(value)]

    for key, tensor in _by_key(model.output, keep):
        way = [tensor]
        while way:  # towers are deeper than Python's calls may be
            before = next(iter(_reads(way[-1], known)), None)
            if before is None:
                label(way.pop())
            else:
                way.append(before)
        digest.update(f"{key}={label(tensor)};".encode())


def _reads(tensor, known):
    """Tensors that are not yet known, of those that a call reads, in their order."""
    if id(tensor) in known:
        return []
    arguments = call_of(tensor).arguments
    leaves = keras.tree.flatten([arguments.args, arguments.kwargs])
    return [leaf for leaf in leaves if isinstance(leaf, keras.KerasTensor) and id(leaf) not in known]


def _by_key(tensors, keep):
    """(key, tensor) in a fixed order; without `keep`, names of modalities and columns are taken off the keys."""
    if not isinstance(tensors, dict):
        return list(enumerate(keras.tree.flatten(tensors)))
    return [(key if keep else key.partition(".")[2], tensors[key]) for key in sorted(tensors)]


def _as_lists(values):
    """Nested values with lists in place of tuples."""
    if isinstance(values, dict):
        return {key: _as_lists(value) for key, value in values.items()}
    return [_as_lists(value) for value in values] if isinstance(values, list | tuple) else values


HALF = ("mixed_bfloat16", "mixed_float16", "bfloat16", "float16", "float64")


def _nameless(config):
    if isinstance(config, dict):
        dropped = ["name", "shared_object_id", "registered_name", "trainable", "build_config"]
        if config.get("name") in HALF:  # of a dtype policy it is all that matters; float32 is as it always was
            dropped.remove("name")
        return {key: _nameless(value) for key, value in config.items() if key not in dropped}
    return [_nameless(value) for value in config] if isinstance(config, list | tuple) else config
