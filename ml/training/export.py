"""The trained network as ONNX, in the raw output layout of a YOLOX export: [1, cells, 5 + classes]."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dataset import CLASSES, HEIGHT, STRIDES, WIDTH
from net import LAYERS, OUT


def model(weights):
    """An ONNX model of the folded `weights`."""
    nodes, tensors, name_of = [], [], {"input": "images"}

    def constant(name, value):
        tensors.append(numpy_helper.from_array(value, name))
        return name

    for kind, name, inputs, settings in LAYERS:
        sources = [name_of[source] for source in inputs]
        out = name
        if kind == "add":
            nodes.append(helper.make_node("Add", sources, [out]))
        elif kind == "up":
            scales = constant(f"{name}.scales", np.array([1, 1, 2, 2], np.float32))
            nodes.append(helper.make_node("Resize", [sources[0], "", scales], [out], mode="nearest",
                                          coordinate_transformation_mode="asymmetric", nearest_mode="floor"))
        else:
            weight, bias = weights[name]
            edge, stride = settings["size"] // 2, settings["stride"]
            kernel = constant(f"{name}.w", np.ascontiguousarray(weight.transpose(3, 2, 0, 1)))
            raw = f"{name}.raw" if settings["relu"] else out
            nodes.append(helper.make_node("Conv", [sources[0], kernel, constant(f"{name}.b", bias)], [raw],
                                          kernel_shape=[settings["size"]] * 2, strides=[stride] * 2, pads=[edge] * 4))
            if settings["relu"]:
                nodes.append(helper.make_node("Relu", [raw], [out]))
        name_of[name] = out
    flat = constant("flat", np.array([1, -1, OUT], np.int64))
    grids = []
    for stride in STRIDES:
        nodes.append(helper.make_node("Transpose", [name_of[f"grid{stride}"]], [f"rows{stride}"], perm=[0, 2, 3, 1]))
        nodes.append(helper.make_node("Reshape", [f"rows{stride}", flat], [f"cells{stride}"]))
        grids.append(f"cells{stride}")
    nodes.append(helper.make_node("Concat", grids, ["all"], axis=1))
    parts = constant("parts", np.array([4, OUT - 4], np.int64))
    nodes.append(helper.make_node("Split", ["all", parts], ["boxes", "logits"], axis=2))
    nodes.append(helper.make_node("Sigmoid", ["logits"], ["scores"]))
    nodes.append(helper.make_node("Concat", ["boxes", "scores"], ["output"], axis=2))
    count = sum((HEIGHT // s) * (WIDTH // s) for s in STRIDES)
    graph = helper.make_graph(
        nodes, "street",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, count, OUT])],
        tensors,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], producer_name="vidicon ml/training")
    made.ir_version = 8
    helper.set_model_props(made, {"names": json.dumps(CLASSES), "input": "bgr255"})
    onnx.checker.check_model(made, full_check=True)
    return made
