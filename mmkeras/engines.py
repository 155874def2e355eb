"""What runs a frozen tower over many rows: TensorFlow, or OpenVINO, which has faster bfloat16 kernels on processors.

An engine turns a tower into `run(batches)`, an iterator from batches of tensors to their outputs, in the same order, as
NumPy arrays. Only `encode_rows` uses engines. A converted tower is kept in a folder, under the name of its features.
"""

import hashlib
import importlib.util
import pathlib
import re
import shutil
import sys
import uuid
import warnings

import keras
import numpy as np
import tensorflow as tf

from mmkeras.graph import compiled

ENGINES = ("auto", "tensorflow", "openvino")
TOWERS = "towers"  # the folder of converted towers in a cache folder
LEAST_COSINE = 0.999
_refused = {}  # key of features → EngineError


class EngineError(RuntimeError):
    """A tower that an engine cannot run, or not well enough."""


def check_engine(name):
    """Raise unless `name` is the name of an engine that is installed.

    Raises:
        ValueError: no such engine.
        ImportError: "openvino" without the package.
    """
    if name not in ENGINES:
        raise ValueError(f"`encode_engine` must be one of {ENGINES}. Received: {name!r}.")
    if name == "openvino" and not _installed():
        raise ImportError(
            "`encode_engine='openvino'` needs the package openvino. Received: a Python without it. "
            "Run `pip install 'mmkeras[openvino]'`, or use 'auto'."
        )


def candidates(name):
    """The engines to try in turn for a name of `ENGINES` or one engine; each says in `why` what speaks for it."""
    if not isinstance(name, str):
        return [name]
    check_engine(name)
    if name == "tensorflow":
        return [TensorFlow("float32", "as asked for")]
    units = _bfloat16_units()
    if name == "openvino":
        why = f"as asked for; the processor has {units or 'no bfloat16 units, so it is no faster'}"
        return [OpenVINO("bf16" if units else "f32", why)]
    plain = TensorFlow("float32", "OpenVINO is not installed" if units else "the processor has no bfloat16 units")
    if tf.config.list_physical_devices("GPU"):
        return [TensorFlow("mixed_float16", "there is a GPU"), plain]
    if units and _installed():
        return [OpenVINO("bf16", f"the processor has {units}"), plain]
    return [plain]


def _installed():
    return importlib.util.find_spec("openvino") is not None


def _bfloat16_units():
    """The processor's flags of bfloat16 units as a text, '' when it has none.

    Not by OpenVINO's list of capabilities, where there is a choice: it names bfloat16 also where it is emulated.
    """
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text().split("flags", 1)[-1].split("\n", 1)[0].split()
        return " and ".join(flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags)
    except OSError:  # not Linux
        known = _installed() and "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return "bfloat16" if known else ""


class TensorFlow:
    """Towers as they are, or with layers of another dtype policy.

    Args:
        precision: "float32" to leave the tower alone, or a Keras dtype policy such as "mixed_bfloat16".
        why: str, for people.
    """

    rows, tokens = 32, 4096  # of a batch

    def __init__(self, precision="float32", why=""):
        self.precision, self.why = precision, why

    def __str__(self):
        return f"TensorFlow in {self.precision}"

    def key(self, fingerprint):
        """16 bytes that stand for a tower's features by this engine."""
        return fingerprint if self.precision == "float32" else _key(fingerprint, str(self))

    def open(self, tower, key, folder, rows, sample, lengths):
        """`run` for a tower; see `OpenVINO.open`."""
        infer = compiled(tower if self.precision == "float32" else with_policy(tower, self.precision))
        dtypes = _dtypes(tower)

        def run(batches):
            for tensors in batches:
                yield {name: value.numpy().astype(dtypes[name]) for name, value in infer(tensors).items()}

        if self.precision != "float32":
            exact = compiled(tower)(sample)
            check_agreement(str(self), next(run([sample])), exact, lengths)
        return run


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
        return _key(fingerprint, str(self))

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
        names = {f"input_{i}": name for i, name in enumerate(sorted(shapes))}
        results = {f"output_{i}": name for i, name in enumerate(sorted(tower.output))}
        dtypes = _dtypes(tower)
        if rows:  # kernels for one size are faster, and need no warming up
            model = model.clone()
            model.reshape({port: [rows, *shapes[names[_name(port)]][1:]] for port in model.inputs})
        settings = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "ENABLE_CPU_PINNING": False,  # the threads that prepare the next rows need a core now and then
        }
        network = _core().compile_model(model, "CPU", settings)
        inputs = {names[_name(port)]: port for port in network.inputs}
        outputs = {results[_name(port)]: index for index, port in enumerate(network.outputs)}
        requests = network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") + 1

        def fetch(request, count):
            found = {name: request.get_output_tensor(index).data[:count] for name, index in outputs.items()}
            return {name: np.array(value, dtypes[name]) for name, value in found.items()}

        def feed(tensors):
            given = {port: np.asarray(tensors[name]) for name, port in inputs.items()}
            count = len(next(iter(given.values())))
            if rows and count < rows:
                given = {port: np.concatenate([v, np.repeat(v[-1:], rows - count, 0)]) for port, v in given.items()}
            return given, count

        def run(batches):
            queue, done, given = _openvino().AsyncInferQueue(network, requests), {}, 0
            queue.set_callback(lambda request, job: done.update({job[0]: fetch(request, job[1])}))
            number = -1
            for number, tensors in enumerate(batches):
                arrays, count = feed(tensors)
                queue.start_async(arrays, (number, count))  # waits while all requests are at work
                while given in done:
                    yield done.pop(given)
                    given += 1
            queue.wait_all()
            yield from (done.pop(rest) for rest in range(given, number + 1))

        return run


def check_agreement(engine, found, exact, lengths=None):
    """Raise EngineError unless features of some rows point the way that TensorFlow's point in float32.

    Args:
        engine: str, for the message.
        found, exact: {key: (rows, …)}, the features of both.
        lengths: (rows,) ints or None; what lies behind them in sequences is padding.

    Returns:
        bool, whether any row had features other than zeros to compare.
    """
    cosines = []
    for name, values in exact.items():
        for row, one in enumerate(np.asarray(values, "float32")):
            two = found[name][row].astype("float32")
            if lengths is not None and one.ndim > 1:
                one, two = one[: lengths[row]], two[: lengths[row]]
            if np.any(one):  # zeros stand for an image that is not there
                cosines.append(np.sum(one * two) / np.sqrt(np.sum(one * one) * np.sum(two * two)))
    if not np.all(np.array(cosines) >= LEAST_COSINE):  # NaN, too
        raise EngineError(
            f"{engine} must give the features that TensorFlow gives in float32: a cosine of {LEAST_COSINE} or more. "
            f"Received: {np.min(cosines):.5f}. Use encode_engine='tensorflow'."
        )
    return bool(cosines)


def with_policy(model, policy):
    """A copy of a model whose layers calculate by a Keras dtype policy.

    Raises:
        EngineError: layers that cannot be copied.
    """

    def renewed(layer):
        if not isinstance(layer, keras.layers.Layer):  # keras.ops, which have no precision of their own
            return layer
        return type(layer).from_config({**layer.get_config(), "dtype": policy})

    try:
        copy = keras.models.clone_model(model, clone_function=renewed, recursive=True)
        copy.set_weights(model.get_weights())
    except Exception as error:  # of layers of many kinds
        raise EngineError(f"The tower {model.name!r} cannot be copied to {policy}: {error}") from error
    return copy


def _in_float32(tower):
    """The tower, or a copy that calculates in float32 where its own dtype is another; OpenVINO reads no other."""
    mixed = any("float16" in layer.dtype_policy.name for layer in tower._flatten_layers(include_self=False))
    return with_policy(tower, "float32") if mixed else tower


def _key(fingerprint, engine):
    return hashlib.blake2b(fingerprint + engine.encode(), digest_size=16).digest()


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
        return exact, _openvino().convert_model(graph)
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


def _dtypes(tower):
    return {name: tf.as_dtype(tensor.dtype).as_numpy_dtype for name, tensor in tower.output.items()}


def _name(port):
    return next(name.split(":")[0] for name in port.names if name.startswith(("input_", "output_")))


def _keep(model, place):
    """Write a converted tower beside its place, then rename it: other processes see all of it or nothing."""
    part = place.with_name(f"part-{uuid.uuid4().hex[:8]}")
    try:
        part.mkdir(parents=True)
        _openvino().save_model(model, part / "tower.xml", compress_to_fp16=False)
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
        return _core().read_model(place / "tower.xml") if place.is_dir() else None
    except RuntimeError:
        return None


def _openvino():
    """The package, without its reports of use to Intel, to which nobody who trains a model has agreed."""
    sys.modules.setdefault("openvino_telemetry", None)  # it goes without where this cannot be imported
    import openvino

    return openvino


def _core():
    return _openvino().Core()


def _version():
    return _openvino().__version__.split("-")[0]
