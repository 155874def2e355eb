"""What runs a frozen tower over many rows: TensorFlow, or OpenVINO, which has faster bfloat16 kernels on processors.

An engine turns a tower into `run(batches)`, an iterator from batches of tensors to their outputs, in the same order, as
NumPy arrays. Only `encode_rows` uses engines. A converted tower is kept in a folder, under the name of its features.
"""

import contextlib
import hashlib
import importlib.util
import pathlib
import shutil
import sys
import uuid

import keras
import numpy as np
import tensorflow as tf

from mmkeras.graph import compiled

ENGINES = ("auto", "tensorflow", "openvino")
TOWERS = "towers"  # the folder of converted towers in a cache folder
LEAST_COSINE = 0.999


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
    """The engines to try in turn for a name of `ENGINES`; each says in `why` what speaks for it."""
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

    batch_size = 32

    def __init__(self, precision="float32", why=""):
        self.precision, self.why = precision, why

    def __str__(self):
        return f"TensorFlow in {self.precision}"

    def key(self, fingerprint):
        """16 bytes that stand for a tower's features by this engine."""
        return fingerprint if self.precision == "float32" else _key(fingerprint, str(self))

    def open(self, tower, key, folder, rows, sample):
        """`run` for a tower; see `OpenVINO.open`."""
        infer = compiled(tower if self.precision == "float32" else with_policy(tower, self.precision))

        def run(batches):
            for tensors in batches:
                yield {name: value.numpy() for name, value in infer(tensors).items()}

        if self.precision != "float32":
            check_agreement(str(self), run, tower, sample)
        return run


class OpenVINO:
    """Towers converted to OpenVINO, several batches at a time, each on its own cores.

    Args:
        precision: "bf16" or "f32", what it multiplies in.
        why: str, for people.
    """

    batch_size = 16

    def __init__(self, precision="bf16", why=""):
        self.precision, self.why = precision, why

    def __str__(self):
        return f"OpenVINO in {'bfloat16' if self.precision == 'bf16' else 'float32'}"

    def key(self, fingerprint):
        return _key(fingerprint, str(self))

    def open(self, tower, key, folder, rows, sample):
        """`run` for a tower.

        Args:
            tower: keras.Model with dicts of tensors for inputs and outputs.
            key: bytes, see `key`.
            folder: where converted towers are kept.
            rows: int, the most rows of a batch.
            sample: function without arguments → (tensors of a few rows, their lengths or None), to compare both
                engines on; called when the tower is converted.

        Raises:
            EngineError: it cannot be converted, or gives other features.
        """
        place = pathlib.Path(folder) / f"{key.hex()}-{_version()}"
        kept = place / "tower.xml"
        with _errors(tower, "cannot be read"):
            model = _core().read_model(kept) if kept.is_file() else None
        if model is not None:
            return self._runner(model, tower, rows)
        with _errors(tower, "cannot be converted"):
            model = _convert(tower)
        run = self._runner(model, tower, rows)
        if check_agreement(str(self), run, tower, sample):
            _keep(model, place)
        return run

    def _runner(self, model, tower, rows):
        shapes = {name: list(tensor.shape) for name, tensor in tower.input.items()}
        fixed = all(None not in shape[1:] for shape in shapes.values())
        names = {f"input_{i}": name for i, name in enumerate(sorted(shapes))}
        results = {f"output_{i}": name for i, name in enumerate(sorted(tower.output))}
        dtypes = {name: tf.as_dtype(tensor.dtype).as_numpy_dtype for name, tensor in tower.output.items()}
        with _errors(tower, "cannot be compiled"):
            if fixed:  # kernels for one size are faster, and need no warming up
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
            arrays = {name: np.array(request.get_output_tensor(i).data[:count]) for name, i in outputs.items()}
            return {name: value.view(dtypes[name]) for name, value in arrays.items()}

        def feed(tensors):
            given = {port: np.asarray(tensors[name]) for name, port in inputs.items()}
            count = len(next(iter(given.values())))
            if fixed and count < rows:
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


def check_agreement(engine, run, tower, sample):
    """Raise EngineError unless features of a few rows point the way that TensorFlow's point in float32.

    Returns:
        bool, whether any row had features other than zeros to compare.
    """
    tensors, lengths = sample()
    tensors = {name: tensors[name] for name in tower.input}
    (found,) = run([tensors])
    compared = False
    for name, exact in tower(tensors, training=False).items():
        for row, one in enumerate(np.asarray(exact, "float32")):
            two = found[name][row].astype("float32")
            if lengths is not None and one.ndim > 1:
                one, two = one[: lengths[row]], two[: lengths[row]]
            norms = np.linalg.norm(one) * np.linalg.norm(two)
            if not np.linalg.norm(one):  # an image that is not there
                continue
            cosine = float(np.sum(one * two) / norms) if norms else 0.0
            compared = True
            if not cosine >= LEAST_COSINE:
                raise EngineError(
                    f"{engine} must give the features that TensorFlow gives in float32, with a cosine of {LEAST_COSINE} or "
                    f"more. Received: {cosine:.5f} for {name!r}. Use encode_engine='tensorflow'."
                )
    return compared


def with_policy(model, policy):
    """A copy of a model whose layers calculate by a Keras dtype policy; inputs and outputs keep their dtypes."""

    def renewed(layer):
        config = layer.get_config()
        if "dtype" in config and not isinstance(layer, keras.layers.InputLayer):
            config["dtype"] = policy
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=renewed, call_function=None, recursive=True)
    copy.set_weights(model.get_weights())
    outputs = copy(dict(copy.input))
    cast = {name: keras.ops.cast(value, model.output[name].dtype) for name, value in outputs.items()}
    return keras.Model(copy.input, cast, name=model.name)


def _key(fingerprint, engine):
    return hashlib.blake2b(fingerprint + engine.encode(), digest_size=16).digest()


def _convert(tower):
    """A tower as an OpenVINO model with inputs "input_0", … and outputs "output_0", … in the order of their names."""
    names = sorted(tower.input)
    signature = [
        tf.TensorSpec(tower.input[name].shape, tower.input[name].dtype, f"input_{i}") for i, name in enumerate(names)
    ]

    def call(*tensors):
        outputs = tower(dict(zip(names, tensors, strict=True)), training=False)
        return {f"output_{i}": outputs[name] for i, name in enumerate(sorted(outputs))}

    graph = tf.function(call, input_signature=signature, autograph=False).get_concrete_function()
    return _openvino().convert_model(graph)


def _name(port):
    return next(name.split(":")[0] for name in port.names if name.startswith(("input_", "output_")))


def _keep(model, place):
    """Write a converted tower beside its place, then rename it: other processes see all of it or nothing."""
    part = place.with_name(f"part-{uuid.uuid4().hex[:8]}")
    try:
        part.mkdir(parents=True)
        _openvino().save_model(model, part / "tower.xml", compress_to_fp16=False)
        part.rename(place)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def _errors(tower, what):
    try:
        yield
    except Exception as error:
        raise EngineError(f"{tower.name} {what}: {error}") from error


def _openvino():
    """The package, without its reports of use to Intel, to which nobody who trains a model has agreed."""
    sys.modules.setdefault("openvino_telemetry", None)  # it goes without where this cannot be imported
    import openvino

    return openvino


def _core():
    return _openvino().Core()


def _version():
    return _openvino().__version__.split("-")[0]
