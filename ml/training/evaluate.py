"""How good a model is on held-out streets, seen through H.264 as the server sees them; and how fast.

    python evaluate.py MODEL.onnx FOLDER

FOLDER: `vidicon demo-scene` at 1280x720 with seeds not trained on. Needs ffmpeg. The result also goes into MODEL.json if that is there.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from dataset import CLASSES, ORIGINS, STRIDE_OF, Folder, letterbox

# The server's suppression, and the score that a rule has by default.
SCORE, NMS, MATCH = 0.5, 0.45, 0.5


def session(path, threads=1):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def overlaps(box, boxes):
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    both = (high - low).clip(0).prod(1)
    return both / ((box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - both)


def inside(box, boxes):
    """How much of `box` lies in each of `boxes`."""
    both = (np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])).clip(0).prod(1)
    return both / (box[2:] - box[:2]).prod()


def detect(model, picture, score=SCORE):
    """Boxes, classes and scores in `picture` (PIL, RGB), as ml's detector computes them."""
    pixels, scale = letterbox(picture)
    rows = model.run(None, {"images": pixels[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)})[0][0]
    kinds = rows[:, 5:].argmax(1)
    scores = rows[:, 4] * rows[:, 5:].max(1)
    keep = scores > score
    rows, kinds, scores = rows[keep], kinds[keep], scores[keep]
    middle = (rows[:, :2] + ORIGINS[keep] / STRIDE_OF[keep, None]) * STRIDE_OF[keep, None]
    half = np.exp(rows[:, 2:4]) * STRIDE_OF[keep, None] / 2
    boxes = np.concatenate([middle - half, middle + half], 1) / scale
    order, chosen = np.argsort(-scores), []
    while len(order):
        best, order = order[0], order[1:]
        chosen.append(best)
        order = order[(kinds[order] != kinds[best]) | (overlaps(boxes[best], boxes[order]) < NMS)]
    return boxes[chosen], kinds[chosen], scores[chosen]


def through_h264(folder):
    """The folder's frames after an encoder like the demo camera's, each in its own short clip's place, as PIL images."""
    size = f"{folder.width}x{folder.height}"
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", "15", "-i", "-"]
    encode = ["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-g", "15", "-b:v", "6M", "-f", "h264", "-"]
    stream = subprocess.run(["ffmpeg", "-v", "error", *raw, *encode], input=folder.frames.tobytes(), stdout=subprocess.PIPE, check=True).stdout
    decode = ["-f", "h264", "-i", "-", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    frames = subprocess.run(["ffmpeg", "-v", "error", *decode], input=stream, stdout=subprocess.PIPE, check=True).stdout
    frames = np.frombuffer(frames, np.uint8).reshape(-1, folder.height, folder.width, 3)
    assert len(frames) == len(folder), "the codec lost frames"
    return [Image.fromarray(frame) for frame in frames]


def quality(model, folder, pictures):
    """Per class: precision and recall at IoU 0.5, and how many there are."""
    hits, found, truth = (np.zeros(len(CLASSES), int) for _ in range(3))
    for picture, boxes, classes, slivers in zip(pictures, folder.boxes, folder.classes, folder.slivers):
        seen, kinds, scores = detect(model, picture)
        free = np.ones(len(boxes), bool)
        for box, kind in zip(seen, kinds):
            fits = np.where(free & (classes == kind), overlaps(box, boxes), 0) if len(boxes) else np.zeros(1)
            if fits.max() >= MATCH:
                free[fits.argmax()] = False
                hits[kind] += 1
            elif len(slivers) and inside(box, slivers).max() >= MATCH:
                continue
            found[kind] += 1
        truth += np.bincount(classes, minlength=len(CLASSES))
    return {name: {"precision": round(float(h / max(f, 1)), 3), "recall": round(float(h / max(t, 1)), 3), "objects": int(t)}
            for name, h, f, t in zip(CLASSES, hits, found, truth)}


def milliseconds(model, runs=200):
    """The median of one frame's inference in processor time on one thread, whatever else the machine is doing."""
    name = model.get_inputs()[0].name
    picture = np.random.default_rng(1).uniform(0, 255, model.get_inputs()[0].shape).astype(np.float32)
    taken = []
    for _ in range(runs):
        begun = time.process_time()
        model.run(None, {name: picture})
        taken.append((time.process_time() - begun) * 1000)
    return round(float(np.median(taken)), 2)


def report(model, folder):
    """What the card says about `model` on the held-out `folder`."""
    return {
        "frames": len(folder), "codec": "H.264 veryfast zerolatency", "score": SCORE, "iou": MATCH,
        "quality": quality(model, folder, through_h264(folder)), "cpu_ms_per_frame": milliseconds(model),
    }


if __name__ == "__main__":
    path, card = Path(sys.argv[1]), Path(sys.argv[1]).with_suffix(".json")
    result = report(session(str(path)), Folder(sys.argv[2]))
    print(json.dumps(result, indent=1))
    if card.exists():
        card.write_text(json.dumps(json.loads(card.read_text()) | {"test": result}, indent=1) + "\n")
