"""Towers converted to OpenVINO: the only file that imports it."""

import collections
import contextlib
import importlib.util
import pathlib
import re
import shutil
import sys
import uuid
import warnings

import numpy as np
import tensorflow as tf

from mmkeras.trunk.engines.base import EngineError, check_agreement, feature_key, output_dtypes, with_policy

_refused = {}  # key of features → EngineError


def installed():
    return importlib.util.find_spec("openvino") is not None


class OpenVINO:
    """Towers converted to OpenVINO, several batches at a time, each on its own cores.

    Args:
        precision: "bf16" or "f32", what it multiplies in.
        why: str, for people.
    """

    rows, tokens = 16, 1024  # of a batch; several are under way

    def __init__(self, precision="bf16", why=""):
        self.precision, self.why = precision, why

    def __str__(self):
        return f"OpenVINO in {'bfloat16' if self.precision == 'bf16' else 'float32'}"

    def key(self, fingerprint):
        return feature_key(fingerprint, str(self))

    def open(self, tower, key, folder, rows, sample, lengths):
        """`run` for a tower.

        Args:
            tower: keras.Model with dicts of tensors for inputs and outputs.
            key: bytes, see `key`.
            folder: where converted towers are kept.
            rows: int, the rows of every batch but the last, where nothing else of their shapes varies; or None.
            sample: tensors of a few rows, on which both engines are compared when the tower is converted.
            lengths: their lengths, or None.

        Raises:
            EngineError: it cannot be converted, or gives other features.
        """
        if key in _refused:
            raise _refused[key]
        place = pathlib.Path(folder) / f"{key.hex()}-{_version()}"
        try:
            model = _read(place)
            if model is not None:
                return self._runner(model, tower, rows)
            exact, model = _convert(tower)
            run = self._runner(model, tower, rows)
            if check_agreement(str(self), next(run([sample])), exact(sample), lengths):
                _keep(model, place)
            return run
        except EngineError as error:
            _refused[key] = error  # it will not do better in the same process
            raise

    def _runner(self, model, tower, rows):
        shapes = {name: list(tensor.shape) for name, tensor in tower.input.items()}
        tower_name = tower.name  # not the tower itself, which `run` would keep in memory
        names = {f"input_{i}": name for i, name in enumerate(sorted(shapes))}
        results = {f"output_{i}": name for i, name in enumerate(sorted(tower.output))}
        dtypes = output_dtypes(tower)
        settings = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "ENABLE_CPU_PINNING": False,  # the threads that prepare the next rows need a core now and then
        }
        with _telling(tower_name):
            if rows:  # kernels for one size are faster, and need no warming up
                model = model.clone()
                model.reshape({port: [rows, *shapes[names[_name(port)]][1:]] for port in model.inputs})
            network = core().compile_model(model, "CPU", settings)
        inputs = {names[_name(port)]: port for port in network.inputs}
        outputs = {results[_name(port)]: index for index, port in enumerate(network.outputs)}
        most = network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") + 2  # one is filled, one is read

        def feed(tensors):
            given = {port: np.asarray(tensors[name]) for name, port in inputs.items()}
            count = len(next(iter(given.values())))
            if rows and count < rows:
                given = {port: np.concatenate([v, np.repeat(v[-1:], rows - count, 0)]) for port, v in given.items()}
            return given, count

        def fetch(request, count):
            with _telling(tower_name):
                request.wait()
            found = {name: request.get_output_tensor(index).data[:count] for name, index in outputs.items()}
            return {name: np.array(value, dtypes[name]) for name, value in found.items()}

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


@contextlib.contextmanager
def _telling(tower_name):
    """Turn what OpenVINO complains of into an EngineError."""
    try:
        yield
    except RuntimeError as error:
        raise EngineError(
            f"OpenVINO must be able to run the tower {tower_name!r}. Received: {_operations(str(error))}. "
            "Use encode_engine='tensorflow'."
        ) from error


def _in_float32(tower):
    """The tower, or a copy that calculates in float32 where its own dtype is another; OpenVINO reads no other."""
    mixed = any("float16" in layer.dtype_policy.name for layer in tower._flatten_layers(include_self=False))
    return with_policy(tower, "float32") if mixed else tower


def _convert(tower):
    """(the tower as one TensorFlow graph, the same converted to OpenVINO).

    The converted one has inputs "input_0", … and outputs "output_0", … in the order of the names.
    """
    names, plain = sorted(tower.input), _in_float32(tower)
    signature = [
        tf.TensorSpec(tower.input[name].shape, tower.input[name].dtype, f"input_{i}") for i, name in enumerate(names)
    ]

    def call(*tensors):
        outputs = plain(dict(zip(names, tensors, strict=True)), training=False)
        return {f"output_{i}": outputs[name] for i, name in enumerate(sorted(outputs))}

    graph = tf.function(call, input_signature=signature, autograph=False).get_concrete_function()

    def exact(tensors):
        found = graph(*(tf.convert_to_tensor(tensors[name]) for name in names))
        return {name: found[f"output_{i}"].numpy() for i, name in enumerate(sorted(tower.output))}

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


def _name(port):
    return next(name.split(":")[0] for name in port.names if name.startswith(("input_", "output_")))


def _keep(model, place):
    """Write a converted tower beside its place, then rename it: other processes see all of it or nothing."""
    part = place.with_name(f"part-{uuid.uuid4().hex[:8]}")
    try:
        part.mkdir(parents=True)
        openvino().save_model(model, part / "tower.xml", compress_to_fp16=False)
        if place.is_dir() and _read(place) is None:  # damaged
            shutil.rmtree(place)
        part.rename(place)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        if _read(place) is None:  # else another process was first
            warnings.warn(f"The converted tower could not be kept and will be converted again: {error}.", stacklevel=5)


def _read(place):
    """A kept tower, or None where there is none, or none that can be read."""
    try:
        return core().read_model(place / "tower.xml") if place.is_dir() else None
    except RuntimeError:
        return None


def openvino():
    """The package, without its reports of use to Intel, to which nobody who trains a model has agreed."""
    sys.modules.setdefault("openvino_telemetry", None)  # it goes without where this cannot be imported
    import openvino as package

    return package


def core():
    return openvino().Core()


def _version():
    return openvino().__version__.split("-")[0]
