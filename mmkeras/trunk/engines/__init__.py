"""What runs a frozen tower over many rows: TensorFlow, or OpenVINO, which has faster bfloat16 kernels on processors.

An engine turns a tower into `run(batches)`, an iterator from batches of tensors to their outputs, in the same order, as
NumPy arrays. Only `encode_rows` uses engines. A converted tower is kept in a folder, under the name of its features.
"""

from mmkeras.trunk.engines.base import EngineError, TensorFlow, check_agreement
from mmkeras.trunk.engines.choice import ENGINES, after, candidates, check_engine
from mmkeras.trunk.engines.converted import OpenVINO
from mmkeras.trunk.engines.refusals import open_tower, refused

__all__ = [
    "ENGINES",
    "EngineError",
    "OpenVINO",
    "TensorFlow",
    "after",
    "candidates",
    "check_agreement",
    "check_engine",
    "open_tower",
    "refused",
]
