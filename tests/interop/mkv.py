"""Enough Matroska to judge what comes out of GetMedia: its elements in order, the clusters' bytes, and the tags around them. Reads the way
consumers do: nothing here knows how the server writes."""

EBML, SEGMENT, INFO, TRACKS, TAGS, CLUSTER, TIMECODE = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1254C367, 0x1F43B675, 0xE7
SIMPLE_TAG, TAG, NAME, TEXT = 0x67C8, 0x7373, 0x45A3, 0x4487
# What ends a cluster of unknown size: everything that stands at its level or above.
LEVEL_1 = {EBML, SEGMENT, INFO, TRACKS, TAGS, CLUSTER, 0x114D9B74, 0x1C53BB6B, 0x1043A770, 0x1941A469}


class Incomplete(Exception):
    """The bytes end within an element."""


def _number(data, at, keep):
    if at >= len(data):
        raise Incomplete
    width = 9 - data[at].bit_length()
    if width > 8:
        raise ValueError(f"no EBML number at {at}: {data[at : at + 8].hex()}")
    if at + width > len(data):
        raise Incomplete
    value = int.from_bytes(data[at : at + width], "big")
    if keep:
        return value, at + width
    value &= (1 << 7 * width) - 1
    return (None if value == (1 << 7 * width) - 1 else value), at + width


def element(data, at):
    """(id, start of its data, end or None where its size is unknown)"""
    kind, at = _number(data, at, True)
    size, at = _number(data, at, False)
    return kind, at, None if size is None else at + size


def top(data, whole=True):
    """The elements of the levels 0 and 1: (id, start, start of data, end). A Segment is entered. `whole`: a cluster of unknown size may end
    with the bytes; else only by what follows it, and the last, incomplete element is left out."""
    at = 0
    while at < len(data):
        try:
            kind, inner, end = element(data, at)
            if kind == SEGMENT:
                yield kind, at, inner, inner
                at = inner
                continue
            if end is None and kind == CLUSTER:
                end = _unknown_end(data, inner, whole)
        except Incomplete:
            if whole:
                raise
            return
        if end is None or end > len(data):
            if whole:
                raise Incomplete(f"element {kind:x} at {at}")
            return
        yield kind, at, inner, end
        at = end


def _unknown_end(data, at, whole):
    while at < len(data):
        kind, _, end = element(data, at)
        if kind in LEVEL_1:
            return at
        if end > len(data):
            raise Incomplete
        at = end
    if not whole:
        raise Incomplete
    return at


def simple_tags(data):
    """(name, value) of every SimpleTag in a Tags element's data."""
    found, at = [], 0
    while at < len(data):
        kind, inner, end = element(data, at)
        if kind == SIMPLE_TAG:
            pair = {k: data[a:e] for k, a, e in _children(data, inner, end)}
            found.append((pair.get(NAME, b"").rstrip(b"\0").decode(), pair.get(TEXT, b"").rstrip(b"\0").decode()))
            at = end
        else:
            at = inner if kind == TAG else end
    return found


def _children(data, at, end):
    while at < end:
        kind, inner, stop = element(data, at)
        yield kind, inner, stop
        at = stop


class Fragment:
    """A cluster with what stood around it since the EBML header before it."""

    def __init__(self, header):
        self.header = header  # EBML, Segment head, Info, Tracks: bytes
        self.before, self.after = [], []  # tags, (name, value)
        self.cluster = b""
        self.timecode = None

    def tag(self, name):
        return dict(self.before + self.after).get("AWS_KINESISVIDEO_" + name)

    @property
    def token(self):
        return dict(self.after).get("AWS_KINESISVIDEO_CONTINUATION_TOKEN")

    @property
    def number(self):
        return self.tag("FRAGMENT_NUMBER")


def fragments(data, whole=True):
    """What GetMedia sent, by fragment: a new EBML header each. A last one that has no cluster yet is given too."""
    found = []
    for kind, start, inner, end in top(data, whole):
        if kind == EBML:
            found.append(Fragment(data[start:end]))
            continue
        assert found, f"element {kind:x} stands before the first EBML header"
        now = found[-1]
        if kind in (SEGMENT, INFO, TRACKS):
            now.header += data[start:end]
        elif kind == TAGS:
            (now.after if now.cluster else now.before).extend(simple_tags(data[inner:end]))
        elif kind == CLUSTER:
            assert not now.cluster, "two clusters after one EBML header"
            now.cluster = data[start:end]
            at, _, stop = next((a, k, e) for k, a, e in _children(data, inner, end) if k == TIMECODE)
            now.timecode = int.from_bytes(data[at:stop], "big")
    return found


def clusters(data):
    """The bytes of every whole cluster of a file, whatever its shape."""
    return [data[start:end] for kind, start, _, end in top(data, whole=False) if kind == CLUSTER]


# Writing, for producers made in a test.


def _made(kind, data):
    width = (kind.bit_length() + 7) // 8
    return kind.to_bytes(width, "big") + (len(data) | 1 << 28).to_bytes(4, "big") + data


def header(codec="V_MPEG4/ISO/AVC"):
    """An EBML header, an endless Segment, Info and one video track."""
    track = b"".join((_made(0xD7, b"\1"), _made(0x73C5, b"\1"), _made(0x83, b"\1"), _made(0x86, codec.encode()), _made(0xE0, _made(0xB0, b"\2\x80") + _made(0xBA, b"\1\xe0"))))
    return b"".join(
        (
            _made(EBML, _made(0x4282, b"matroska") + _made(0x4287, b"\2") + _made(0x4285, b"\2")),
            SEGMENT.to_bytes(4, "big") + b"\x01" + b"\xff" * 7,
            _made(INFO, _made(0x2AD7B1, (1_000_000).to_bytes(4, "big")) + _made(0x4D80, b"test") + _made(0x5741, b"test")),
            _made(TRACKS, _made(0xAE, track)),
        )
    )


def cluster(timecode, frames=3, size=200, delta=40):
    """A cluster of known size: a key frame and more, `delta` ms apart."""
    blocks = [
        _made(0xA3, b"\x81" + (i * delta).to_bytes(2, "big") + (b"\x80" if i == 0 else b"\0") + bytes([(timecode + i) % 251]) * size)
        for i in range(frames)
    ]
    return _made(CLUSTER, _made(TIMECODE, timecode.to_bytes(8, "big")) + b"".join(blocks))


def tags(*pairs):
    return _made(TAGS, _made(TAG, b"".join(_made(SIMPLE_TAG, _made(NAME, n.encode()) + _made(TEXT, v.encode())) for n, v in pairs)))


END_OF_FRAGMENT = tags(("AWS_KINESISVIDEO_END_OF_FRAGMENT", ""))
