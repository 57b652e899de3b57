"""Trains the street detector on rendered frames, exports it and writes what it can do beside it.

    python train.py --data FOLDER... --test FOLDER --minutes 20 --out ../models/street
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import evaluate
import export
import net
from dataset import CLASSES, HEIGHT, ORIGINS, STRIDE_OF, WIDTH, Folder, batches

WARM_UP = 0.04


def loss_of(params, stats, pictures, kinds, boxes):
    """Objectness everywhere; class and box (IoU, and L1 on the raw values) where there is an object."""
    raw, after = net.forward(params, stats, pictures, training=True)
    here = (kinds >= 0).astype(jnp.float32)
    count = here.sum() + 1.0
    objectness = optax.sigmoid_binary_cross_entropy(raw[..., 4], here).sum() / count
    wanted = jax.nn.one_hot(kinds, len(CLASSES))
    classes = (optax.sigmoid_binary_cross_entropy(raw[..., 5:], wanted).sum(-1) * here).sum() / count
    stride = STRIDE_OF[:, None]
    middle, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    goal = jnp.concatenate([(middle - ORIGINS) / stride, jnp.log(jnp.maximum(size, 1.0) / stride)], -1)
    l1 = (jnp.abs(raw[..., :4] - goal).sum(-1) * here).sum() / count
    got_middle = raw[..., :2] * stride + ORIGINS
    got_half = jnp.exp(raw[..., 2:4].clip(-5, 5)) * stride / 2
    low, high = jnp.maximum(got_middle - got_half, boxes[..., :2]), jnp.minimum(got_middle + got_half, boxes[..., 2:])
    both = jnp.maximum(high - low, 0).prod(-1)
    iou = both / ((2 * got_half).prod(-1) + size.prod(-1) - both + 1e-6)
    overlap = ((1 - iou) * here).sum() / count
    return objectness + classes + 4 * overlap + l1, (after, jnp.stack([objectness, classes, overlap, l1]))


def produce(queue, paths, size, seed):
    """Fills `queue` with batches, in a process of its own."""
    for batch in batches([Folder(path) for path in paths], size, seed):
        queue.put(batch)


def train(options):
    """The averaged parameters and their statistics, and how many pictures they saw."""
    params, stats = net.initial(options.seed)
    optimizer = optax.inject_hyperparams(optax.adamw)(learning_rate=options.rate, weight_decay=1e-4)
    state = optimizer.init(params)
    average = params

    @jax.jit
    def step(params, stats, state, average, rate, pictures, kinds, boxes):
        (_, (stats, parts)), slope = jax.value_and_grad(loss_of, has_aux=True)(params, stats, pictures, kinds, boxes)
        state.hyperparams["learning_rate"] = rate
        change, state = optimizer.update(slope, state, params)
        params = optax.apply_updates(params, change)
        average = jax.tree.map(lambda old, new: 0.995 * old + 0.005 * new, average, params)
        return params, stats, state, average, parts

    queue = multiprocessing.Queue(6)
    worker = multiprocessing.Process(target=produce, args=(queue, options.data, options.batch, options.seed), daemon=True)
    worker.start()
    begun, seen, done = time.monotonic(), 0, 0.0
    while done < 1.0:
        rate = options.rate * min(done / WARM_UP, 0.5 + 0.5 * np.cos(np.pi * done), 1.0) + 1e-6
        params, stats, state, average, parts = step(params, stats, state, average, rate, *queue.get())
        seen += options.batch
        done = (time.monotonic() - begun) / 60 / options.minutes
        if seen // options.batch % 50 == 0:
            print(f"{done:5.1%} {seen:6} pictures, objectness {parts[0]:.3f} class {parts[1]:.3f} overlap {parts[2]:.3f} l1 {parts[3]:.3f}", flush=True)
    worker.terminate()
    return average, stats, seen


def main():
    os.nice(10)
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=2.5e-3, help="the learning rate at its peak")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    params, stats, seen = train(options)
    path = options.out.with_suffix(".onnx")
    path.write_bytes(export.model(net.folded(params, stats)).SerializeToString())

    model, test = evaluate.session(str(path)), Folder(options.test)
    picture = np.random.default_rng(2).integers(0, 255, (1, HEIGHT, WIDTH, 3)).astype(np.float32)
    expected = np.array(net.forward(params, stats, picture, training=False)[0])
    expected[..., 4:] = 1 / (1 + np.exp(-expected[..., 4:]))
    difference = float(np.abs(model.run(None, {"images": picture.transpose(0, 3, 1, 2)})[0] - expected).max())
    assert difference < 1e-2, f"the export computes something else: {difference}"
    card = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "input": {"name": "images", "shape": [1, 3, HEIGHT, WIDTH], "pixels": "bgr255", "fit": "letterbox top left, grey 114"},
        "output": {"name": "output", "layout": "yolox raw: [1, cells, 5 + classes], strides 8 16 32"},
        "classes": CLASSES,
        "test": evaluate.report(model, test),
        "trained": {"pictures": seen, "minutes": options.minutes, "batch": options.batch, "seed": options.seed,
                    "frames": sum(len(Folder(folder)) for folder in options.data), "jax": jax.__version__},
    }
    options.out.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card, indent=1))


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
