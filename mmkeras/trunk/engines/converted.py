"""Towers converted to OpenVINO: the only file that imports it."""

import collections
import contextlib
import hashlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import sys
import uuid
import warnings

import numpy as np
import tensorflow as tf

from mmkeras.graph import all_layers
from mmkeras.trunk.engines.base import EngineError, Inexact, check_agreement, feature_key, output_dtypes, with_precision
from mmkeras.trunk.engines.marks import exact_start

DIGESTS = "digests.json"  # of a converted tower's files, beside them
PRECISIONS = {"bf16": "bfloat16", "mixed": "float32 up to the middle, then bfloat16", "f32": "float32"}


def installed():
    return importlib.util.find_spec("openvino") is not None


class OpenVINO:
    """Towers converted to OpenVINO, several batches at a time, each on its own cores.

    Args:
        precision: "bf16" or "f32", what it multiplies in; "mixed" for "bf16" behind a start in float32, see `marks`.
        why: str, for people.
    """

    rows, tokens = 16, 1024  # of a batch; several are under way

    def __init__(self, precision="bf16", why=""):
        self.precision, self.why = precision, why

    def __str__(self):
        return f"OpenVINO in {PRECISIONS[self.precision]}"

    @property
    def versions(self):
        return f"{_version()}-{tf.__version__}"

    def key(self, fingerprint):
        return feature_key(fingerprint, str(self))

    def open(self, tower, key, *, folder, rows, sample):
        """`run` for a tower, as often as it is asked; see `open_tower`, which remembers what was refused.

        Args:
            tower: keras.Model with dicts of tensors for inputs and outputs.
            key: bytes, see `key`.
            folder: where converted towers are kept.
            rows: int, the rows of every batch but the last, where nothing else of their shapes varies; or None.
            sample: (tensors of a few rows, their lengths or None), on which both engines are compared when the tower is
                converted; the same for the same tower, see `encoding.Tower.sample`.

        Raises:
            EngineError: it cannot be converted, or gives other features.
        """
        place = pathlib.Path(folder) / f"{key.hex()}-{_version()}"
        model = _read(place)
        if model is not None:
            return self._runner(model, tower, rows)
        exact, model = _convert(tower)
        if self.precision == "mixed":
            model = exact_start(model, openvino())
            if model is None:
                raise Inexact(f"{self} is for networks of convolutions. Received: {tower.name!r}. Use another engine.")
        run = self._runner(model, tower, rows)
        tensors, lengths = sample
        if check_agreement(str(self), _in_batches(run, tensors, rows), exact(tensors), lengths):
            _keep(model, place)
        return run

    def _runner(self, model, tower, rows):
        network = self._compile(model, tower, rows)
        names, results = _port_names(tower.input, "input"), _port_names(tower.output, "output")
        inputs = {names[_name(port)]: port for port in network.inputs}
        outputs = {results[_name(port)]: index for index, port in enumerate(network.outputs)}
        most = network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") + 2  # one is filled, one is read
        dtypes, tower_name = output_dtypes(tower), tower.name  # not the tower, which `run` would keep in memory

        def feed(tensors):
            arrays = {port: np.asarray(tensors[name]) for name, port in inputs.items()}
            count = len(next(iter(arrays.values())))
            if rows and count < rows:
                arrays = {port: np.concatenate([v, np.repeat(v[-1:], rows - count, 0)]) for port, v in arrays.items()}
            return arrays, count

        def fetch(request, count):
            with _telling(tower_name):
                request.wait()
            values = {name: request.get_output_tensor(index).data[:count] for name, index in outputs.items()}
            return {name: np.array(value, dtypes[name]) for name, value in values.items()}

        def run(batches):
            # Not AsyncInferQueue: its threads call back into Python, and a network that is let go meanwhile waits for
            # them for ever, holding the lock that they wait for.
            idle, busy = [network.create_infer_request() for _ in range(most)], collections.deque()
            try:
                for tensors in batches:
                    arrays, count = feed(tensors)
                    with _telling(tower_name):
                        idle[-1].start_async(arrays)
                    busy.append((idle.pop(), count))
                    if not idle:
                        idle.append(busy[0][0])
                        yield fetch(*busy.popleft())
                while busy:
                    yield fetch(*busy.popleft())
            finally:
                for request, _ in busy:  # of a pass that was broken off
                    request.cancel()
                    with contextlib.suppress(RuntimeError):
                        request.wait()

        return run

    def _compile(self, model, tower, rows):
        """A network for batches of `rows` rows, or of any number."""
        settings = {
            "INFERENCE_PRECISION_HINT": "f32" if self.precision == "f32" else "bf16",
            "PERFORMANCE_HINT": "THROUGHPUT",
            "ENABLE_CPU_PINNING": False,  # the threads that prepare the next rows need a core now and then
        }
        names = _port_names(tower.input, "input")
        # Not every network compiles in two precisions; in one, it may.
        with _telling(tower.name, Inexact if self.precision == "mixed" else EngineError):
            if rows:  # kernels for one size are faster, and need no warming up
                model = model.clone()
                model.reshape({port: [rows, *tower.input[names[_name(port)]].shape[1:]] for port in model.inputs})
            return core().compile_model(model, "CPU", settings)


def _in_batches(run, tensors, rows):
    """{name: array} that `run` gives for tensors, in batches of at most `rows` rows."""
    count = len(next(iter(tensors.values())))
    starts = range(0, count, rows or count)
    outputs = list(run({name: value[i : i + (rows or count)] for name, value in tensors.items()} for i in starts))
    return {name: np.concatenate([batch[name] for batch in outputs]) for name in outputs[0]}


@contextlib.contextmanager
def _telling(tower_name, kind=EngineError):
    """Turn what OpenVINO complains of into an EngineError of a kind."""
    try:
        yield
    except RuntimeError as error:
        raise kind(
            f"OpenVINO must be able to run the tower {tower_name!r}. Received: {_operations(str(error))}. "
            "Use encode_engine='tensorflow'."
        ) from error


def _in_float32(tower):
    """The tower, or a copy that calculates in float32 where its own dtype is another; OpenVINO reads no other."""
    mixed = any("float16" in layer.dtype_policy.name for layer in all_layers(tower))
    return with_precision(tower, "float32") if mixed else tower


def _convert(tower):
    """(the tower as one TensorFlow graph, the same converted to OpenVINO, with ports as `_port_names` has them)."""
    names, results, plain = _port_names(tower.input, "input"), _port_names(tower.output, "output"), _in_float32(tower)
    signature = [tf.TensorSpec(tower.input[name].shape, tower.input[name].dtype, port) for port, name in names.items()]

    def call(*tensors):
        outputs = plain(dict(zip(names.values(), tensors, strict=True)), training=False)
        return {port: outputs[name] for port, name in results.items()}

    graph = tf.function(call, input_signature=signature, autograph=False).get_concrete_function()

    def exact(tensors):
        outputs = graph(*(tf.convert_to_tensor(tensors[name]) for name in names.values()))
        return {name: outputs[port].numpy() for port, name in results.items()}

    try:
        return exact, openvino().convert_model(graph)
    except Exception as error:  # of several kinds
        raise EngineError(
            f"OpenVINO must know every operation of the tower {tower.name!r}. Received: {_operations(str(error))}. "
            "Use encode_engine='tensorflow'."
        ) from error


def _operations(message):
    """The operations that a failed conversion complains of, or else the first line that says anything."""
    names = ", ".join(re.findall(r"(?:found for operations|failed for): (.*)", message))
    lines = [line for line in message.splitlines() if line.strip() and "Exception from" not in line]
    return names or (lines[0] if lines else "an unknown error")


def _port_names(tensors, side):
    """{"input_0" or "output_0" and so on: name} in the order of the names; OpenVINO's ports keep no others."""
    return {f"{side}_{number}": name for number, name in enumerate(sorted(tensors))}


def _name(port):
    return next(name.split(":")[0] for name in port.names if name.startswith(("input_", "output_")))


def _keep(model, place):
    """Write a converted tower beside its place, then rename it: other processes see all of it or nothing."""
    fresh = place.with_name(f"part-{uuid.uuid4().hex[:8]}")
    try:
        fresh.mkdir(parents=True)
        openvino().save_model(model, fresh / "tower.xml", compress_to_fp16=False)
        (fresh / DIGESTS).write_text(json.dumps(_digests(fresh)), encoding="utf-8")
        if os.path.lexists(place) and _read(place) is None:  # damaged, or a link
            place.unlink() if place.is_symlink() else shutil.rmtree(place)
        fresh.rename(place)
    except (OSError, RuntimeError) as error:  # OpenVINO's own are of the second kind
        shutil.rmtree(fresh, ignore_errors=True)
        if _read(place) is None:  # else another process was first
            warnings.warn(
                f"The converted tower could not be kept and will be converted again: {_operations(str(error))}. "
                f"Free some space in {str(place.parent)!r}, or give another `cache_dir`.",
                stacklevel=5,
            )


def _read(place):
    """A kept tower, or None where there is none, or none that is as it was written."""
    try:
        if place.is_symlink() or json.loads((place / DIGESTS).read_text(encoding="utf-8")) != _digests(place):
            return None
        return core().read_model(place / "tower.xml")
    except (OSError, ValueError, RuntimeError):
        return None


def _digests(place):
    """{name: SHA-256} of the files of a converted tower.

    Raises:
        OSError: one is not there, or a link.
    """
    digests = {}
    for name in ("tower.xml", "tower.bin"):
        if (place / name).is_symlink() or not (place / name).is_file():
            raise OSError(f"{place / name} is no file")
        with open(place / name, "rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def openvino():
    """The package, without its reports of use to Intel, to which nobody who trains a model has agreed."""
    sys.modules.setdefault("openvino_telemetry", None)  # it goes without where this cannot be imported
    import openvino as package

    return package


def core():
    return openvino().Core()


def _version():
    return openvino().__version__.split("-")[0]
