"""Which engine runs a tower on this machine."""

import pathlib

import tensorflow as tf

from mmkeras.trunk.engines.base import Inexact, TensorFlow
from mmkeras.trunk.engines.converted import OpenVINO, core, installed

ENGINES = ("auto", "tensorflow", "openvino")


def check_engine(name):
    """Raise unless `name` is the name of an engine that is installed.

    Raises:
        ValueError: no such engine.
        ImportError: "openvino" without the package.
    """
    if name not in ENGINES:
        raise ValueError(f"`encode_engine` must be one of {ENGINES}. Received: {name!r}.")
    if name == "openvino" and not installed():
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
    units = bfloat16_units()
    if name == "openvino":
        why = f"as asked for; the processor has {units or 'no bfloat16 units, so it is no faster'}"
        return [OpenVINO("bf16" if units else "f32", why)]
    instead = TensorFlow("float32", "the faster engine did not take this tower")
    if tf.config.list_physical_devices("GPU"):
        return [TensorFlow("mixed_float16", "there is a GPU"), instead]
    if units and installed():
        mixed = OpenVINO("mixed", "bfloat16 is too coarse for the whole tower")
        exact = OpenVINO("f32", "bfloat16 is too coarse for this tower")
        return [OpenVINO("bf16", f"the processor has {units}"), mixed, exact, instead]
    return [TensorFlow("float32", "OpenVINO is not installed" if units else "the processor has no bfloat16 units")]


def after(error, left):
    """Which of the engines that are left to try after an `EngineError`: a finer precision where that was at fault, else the last."""
    return left if isinstance(error, Inexact) else left[-1:]


def bfloat16_units():
    """The processor's flags of bfloat16 units as a text, '' when it has none.

    Not by OpenVINO's list of capabilities, where there is a choice: it names bfloat16 also where it is emulated.
    """
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text().split("flags", 1)[-1].split("\n", 1)[0].split()
        return " and ".join(flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags)
    except OSError:  # not Linux
        known = installed() and "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return "bfloat16" if known else ""
