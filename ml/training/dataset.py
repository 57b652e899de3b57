"""Rendered frames (`vidicon demo-scene`), made to look as if they came out of a camera, and the targets of each grid cell."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

CLASSES = ["person", "bicycle", "car"]
# The network's input; a 16:9 picture fills its upper 416x234, the rest is grey (YOLOX's letterbox, top left).
WIDTH, HEIGHT, PAD = 416, 256, 114
STRIDES = [8, 16, 32]
# An object belongs to the finest grid whose limit its longer side does not exceed.
LIMITS = [44, 84, 1e9]
# Cells so many strides from an object's middle learn it, if they lie inside it.
RADIUS = 1.5
# So much of an object must be visible for it to be one to find.
CLEAR = 0.35


def cells():
    """The middle (pixels) and the stride of every cell, finest grid first, row by row."""
    middles, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[0 : HEIGHT // stride, 0 : WIDTH // stride]
        middles.append(np.stack([x.ravel(), y.ravel()], 1) * stride)
        strides.append(np.full(x.size, stride))
    return np.concatenate(middles).astype(np.float32), np.concatenate(strides).astype(np.float32)


ORIGINS, STRIDE_OF = cells()


def boxes_of(objects):
    rows = [[o["bounds"][side] for side in ("left", "top", "right", "bottom")] for o in objects]
    return np.array(rows, np.float32).reshape(-1, 4)


class Folder:
    """A folder that `vidicon demo-scene` wrote."""

    def __init__(self, path):
        labels = json.loads((Path(path) / "labels.json").read_text())
        self.width, self.height = labels["width"], labels["height"]
        shape = (len(labels["frames"]), self.height, self.width, 3)
        self.frames = np.memmap(Path(path) / "frames.rgb", np.uint8, "r", shape=shape)
        self.boxes, self.classes, self.slivers = [], [], []
        for frame in labels["frames"]:
            # What is mostly hidden or outside need not be found, and is no mistake if it is.
            clear = [o for o in frame["objects"] if o["share"] >= CLEAR]
            slivers = [o for o in frame["objects"] if o["share"] < CLEAR]
            self.boxes.append(boxes_of(clear))
            self.slivers.append(boxes_of(slivers))
            self.classes.append(np.array([CLASSES.index(o["class"]) for o in clear], np.int64))

    def __len__(self):
        return len(self.frames)


def letterbox(image):
    """`image` (PIL) scaled into the input's upper left corner, as ml's detector scales; the array and the scale."""
    scale = min(WIDTH / image.width, HEIGHT / image.height)
    size = (round(image.width * scale), round(image.height * scale))
    # Linear between four neighbours (OpenCV's INTER_LINEAR), which is not what `resize` does when it shrinks.
    image = image.transform(size, Image.Transform.AFFINE, (1 / scale, 0, 0, 0, 1 / scale, 0), Image.Resampling.BILINEAR)
    out = np.full((HEIGHT, WIDTH, 3), PAD, np.uint8)
    out[: size[1], : size[0]] = np.asarray(image)
    return out, scale


def augment(frame, boxes, classes, rng):
    """One training picture (uint8 RGB at input size) with its boxes."""
    image = Image.fromarray(frame)
    if image.width > WIDTH and rng.random() < 0.3:
        # Some cameras, and some programs, scale more smoothly than linear interpolation does.
        way = rng.choice([Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
        boxes = boxes * (WIDTH / image.width)
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), way)
    fit = WIDTH / image.width
    zoom = fit * (1.0 if rng.random() < 0.4 else rng.uniform(0.82, 1.3))
    stretch = 1.0 if rng.random() < 0.5 else rng.uniform(0.93, 1.07)
    shift_x, shift_y = (0.0, 0.0) if rng.random() < 0.3 else (rng.uniform(-50, 50), rng.uniform(-34, 34))
    sx, sy = zoom * stretch, zoom
    tall = round(image.height * fit)
    image = image.transform((WIDTH, tall), Image.Transform.AFFINE, (1 / sx, 0, -shift_x / sx, 0, 1 / sy, -shift_y / sy),
                            Image.Resampling.BILINEAR, fillcolor=tuple(int(v) for v in rng.integers(40, 200, 3)))
    moved = boxes * [sx, sy, sx, sy] + [shift_x, shift_y, shift_x, shift_y]
    clipped = moved.clip(0, [WIDTH, tall, WIDTH, tall])
    area = (moved[:, 2] - moved[:, 0]) * (moved[:, 3] - moved[:, 1])
    size = clipped[:, 2:] - clipped[:, :2]
    keep = (size.min(1, initial=1e9) > 3) & (size.prod(1) > 0.35 * area)
    boxes, classes = clipped[keep], classes[keep]
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        boxes = np.stack([WIDTH - boxes[:, 2], boxes[:, 1], WIDTH - boxes[:, 0], boxes[:, 3]], 1)
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.1)))
    pixels = np.asarray(image, np.float32)
    if rng.random() < 0.75:
        gain = rng.uniform(0.7, 1.25) * rng.uniform(0.9, 1.1, 3)
        pixels = 255 * (np.clip(pixels * gain, 0, 255) / 255) ** rng.uniform(0.75, 1.35) + rng.uniform(-14, 14)
    if rng.random() < 0.5:
        pixels = pixels + rng.normal(0, rng.uniform(1, 9), pixels.shape[:2] + (1,)).astype(np.float32)
    pixels = pixels.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        packed = io.BytesIO()
        Image.fromarray(pixels).save(packed, "JPEG", quality=int(rng.integers(25, 92)))
        pixels = np.asarray(Image.open(packed))
    out = np.full((HEIGHT, WIDTH, 3), PAD, np.uint8)
    out[:tall] = pixels[:HEIGHT]
    return out, boxes.astype(np.float32), classes


def targets(boxes, classes):
    """Per cell: class (-1: nothing here) and box (left, top, right, bottom)."""
    wanted = np.full(len(ORIGINS), -1, np.int64)
    box_of = np.zeros((len(ORIGINS), 4), np.float32)
    area_of = np.full(len(ORIGINS), np.inf, np.float32)
    middles = ORIGINS + STRIDE_OF[:, None] / 2
    for box, kind in zip(boxes, classes):
        side = max(box[2] - box[0], box[3] - box[1])
        stride = next(s for s, limit in zip(STRIDES, LIMITS) if side <= limit)
        centre = (box[:2] + box[2:]) / 2
        away = np.abs(middles - centre).max(1)
        inside = ((middles > box[:2]) & (middles < box[2:])).all(1)
        mine = (STRIDE_OF == stride) & (away < RADIUS * stride) & inside
        if not mine.any():
            mine[np.where(STRIDE_OF == stride, away, np.inf).argmin()] = True
        area = (box[2] - box[0]) * (box[3] - box[1])
        mine &= area < area_of
        wanted[mine], box_of[mine], area_of[mine] = kind, box, area
    return wanted, box_of


def batches(folders, size, seed):
    """Augmented batches for ever: pictures (uint8 BGR), classes per cell, boxes per cell."""
    rng = np.random.default_rng(seed)
    index = [(folder, i) for folder in folders for i in range(len(folder))]
    while True:
        for chunk in rng.permutation(len(index))[: len(index) // size * size].reshape(-1, size):
            made = []
            for at in chunk:
                folder, i = index[at]
                picture, boxes, classes = augment(folder.frames[i], folder.boxes[i], folder.classes[i], rng)
                made.append((picture[:, :, ::-1], *targets(boxes, classes)))
            yield tuple(np.stack(column) for column in zip(*made))
