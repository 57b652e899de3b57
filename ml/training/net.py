"""The detector: a small residual network of plain 3x3 convolutions, a top-down neck and three grids (JAX, NHWC).

The network is a list of layers that both JAX (training) and the ONNX export walk, so that they cannot differ. A layer:
(kind, name, inputs, settings). Input is BGR, 0 to 255.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dataset import CLASSES, STRIDES

STEM, C4, C8, C16, C32 = 8, 16, 32, 48, 64
OUT = 5 + len(CLASSES)


def layers():
    made = []

    def add(kind, name, inputs, **settings):
        made.append((kind, name, inputs, settings))
        return name

    def conv(name, source, channels, size=3, stride=1, relu=True, norm=True):
        return add("conv", name, [source], channels=channels, size=size, stride=stride, relu=relu, norm=norm)

    def residual(name, source, channels):
        return add("add", name, [source, conv(f"{name}.conv", source, channels)])

    x = conv("stem", "input", STEM, stride=2)
    x = conv("down4", x, C4, stride=2)
    p8 = residual("res8", conv("down8", x, C8, stride=2), C8)
    p16 = residual("res16b", residual("res16a", conv("down16", p8, C16, stride=2), C16), C16)
    p32 = residual("res32", conv("down32", p16, C32, stride=2), C32)
    top = conv("top", p32, C16, size=1)
    mid = add("add", "mid.sum", [p16, add("up", "mid.up", [top])])
    mid = conv("mid", mid, C16)
    low = add("add", "low.sum", [p8, add("up", "low.up", [conv("low.in", mid, C8, size=1)])])
    low = conv("low", low, C8)
    for stride, source, channels in zip(STRIDES, (low, mid, top), (C8, C16, C16)):
        head = conv(f"head{stride}", source, channels, size=3)
        conv(f"grid{stride}", head, OUT, size=1, relu=False, norm=False)
    return made


LAYERS = layers()


def initial(seed):
    """Parameters and the running statistics of the batch norms."""
    rng = np.random.default_rng(seed)
    params, stats, channels = {}, {}, {"input": 3}
    for kind, name, inputs, settings in LAYERS:
        if kind != "conv":
            channels[name] = channels[inputs[0]]
            continue
        fan_in, out, size = channels[inputs[0]], settings["channels"], settings["size"]
        weight = rng.normal(0, np.sqrt(2 / (fan_in * size * size)), (size, size, fan_in, out))
        params[name] = {"w": weight.astype(np.float32), "b": np.zeros(out, np.float32)}
        if settings["norm"]:
            params[name]["g"] = np.ones(out, np.float32)
            stats[name] = {"mean": np.zeros(out, np.float32), "var": np.ones(out, np.float32)}
        else:
            # Objects are rare: start by expecting one cell in a hundred to hold something.
            params[name]["w"] *= 0.1
            params[name]["b"][4] = -4.6
        channels[name] = out
    return params, stats


def forward(params, stats, pictures, training):
    """Raw grids [batch, cells, 5 + classes] (logits), and the statistics after this batch."""
    values, after = {"input": pictures.astype(jnp.float32) / 64.0}, {}
    for kind, name, inputs, settings in LAYERS:
        x = values[inputs[0]]
        if kind == "add":
            x = x + values[inputs[1]]
        elif kind == "up":
            x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        else:
            edge = settings["size"] // 2
            x = jax.lax.conv_general_dilated(x, params[name]["w"], (settings["stride"],) * 2, [(edge, edge)] * 2,
                                             dimension_numbers=("NHWC", "HWIO", "NHWC"))
            if settings["norm"]:
                if training:
                    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
                    old = stats[name]
                    after[name] = {"mean": 0.97 * old["mean"] + 0.03 * mean, "var": 0.97 * old["var"] + 0.03 * var}
                else:
                    mean, var = stats[name]["mean"], stats[name]["var"]
                x = (x - mean) * (params[name]["g"] * jax.lax.rsqrt(var + 1e-3))
            x = x + params[name]["b"]
            if settings["relu"]:
                x = jax.nn.relu(x)
        values[name] = x
    grids = [values[f"grid{stride}"] for stride in STRIDES]
    return jnp.concatenate([grid.reshape(grid.shape[0], -1, OUT) for grid in grids], 1), after


def folded(params, stats):
    """Weights (HWIO) and biases with the batch norms and the input's scale worked in."""
    made = {}
    for kind, name, inputs, settings in LAYERS:
        if kind != "conv":
            continue
        weight, bias = np.asarray(params[name]["w"]), np.asarray(params[name]["b"])
        if settings["norm"]:
            scale = np.asarray(params[name]["g"]) / np.sqrt(np.asarray(stats[name]["var"]) + 1e-3)
            weight, bias = weight * scale, bias - np.asarray(stats[name]["mean"]) * scale
        if inputs[0] == "input":
            weight = weight / 64.0
        made[name] = (weight.astype(np.float32), bias.astype(np.float32))
    return made
