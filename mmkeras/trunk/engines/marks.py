"""Marks in a converted network, of what is calculated in float32 where the rest is in bfloat16.

Narrow networks of many convolutions, such as MobileNetV2, lose most to bfloat16 in their first ones: a depthwise kernel
weighs 9 numbers that nearly cancel, and every later layer carries the error on.
"""

import pathlib
import tempfile
import xml.etree.ElementTree as ElementTree

import numpy as np

CONVOLUTIONS = ("Convolution", "GroupConvolution")
MARK = {"name": "precise", "version": "0"}  # in OpenVINO's files: this operation keeps its precision


def exact_start(model, package):
    """A network that calculates in float32 up to the middle one of its convolutions, in whatever precision it is compiled.

    Args:
        model: openvino.Model.
        package: module openvino.

    Returns:
        openvino.Model, or None where there are too few convolutions to have a middle.
    """
    operations = model.get_ordered_ops()
    places = [place for place, each in enumerate(operations) if each.get_type_name() in CONVOLUTIONS]
    if len(places) < 2:
        return None
    names = {each.get_friendly_name() for each in operations[: places[len(places) // 2]]}
    with tempfile.TemporaryDirectory() as folder:  # marks are read from files alone
        file = pathlib.Path(folder) / "network.xml"
        package.serialize(model, file)
        tree = ElementTree.parse(file)
        for layer in tree.getroot().find("layers"):
            if layer.get("name") in names and layer.get("type") not in ("Parameter", "Const", "Result"):
                _mark(layer)
        weights = package.Tensor(np.fromfile(file.with_suffix(".bin"), "uint8"))
        return package.Core().read_model(ElementTree.tostring(tree.getroot()), weights)


def _mark(layer):
    told = layer.find("rt_info")
    if told is None:
        told = ElementTree.Element("rt_info")
        layer.insert(int(layer.find("data") is not None), told)
    ElementTree.SubElement(told, "attribute", MARK)
