"""Files and folders that are replaced as a whole: models, SavedModels, pages."""

from mmkeras.persistence.arrays import read_arrays, write_arrays
from mmkeras.persistence.exports import export_saved_model
from mmkeras.persistence.folders import reading, replacing
from mmkeras.persistence.manifest import read
from mmkeras.persistence.names import argument_name, argument_names
from mmkeras.persistence.schema import check_values
from mmkeras.persistence.writing import write_bytes, write_changed, write_text, writing

VERSION = "0.2.0"  # of mmkeras, which a manifest tells

__all__ = [
    "VERSION",
    "argument_name",
    "argument_names",
    "check_values",
    "export_saved_model",
    "read",
    "read_arrays",
    "reading",
    "replacing",
    "write_arrays",
    "write_bytes",
    "write_changed",
    "write_text",
    "writing",
]
