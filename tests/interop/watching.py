"""Reading GetMedia, whose answer does not end while the stream lives."""

from mkv import fragments

TOKEN = b"AWS_KINESISVIDEO_CONTINUATION_TOKEN"


def read(payload, count, least=0):
    """Reads so many fragments with the tags behind them, then hangs up. `least`: bytes that come for sure. Botocore's bodies wait until they
    have as many bytes as were asked for, so what is beyond is read byte by byte."""
    data, tokens, looked = bytearray(), 0, 0
    while True:
        more = payload.read(8192 if len(data) + 8192 <= least else 1)
        assert more, f"the answer ended after {len(data)} bytes and {tokens} of {count} fragments"
        data += more
        tokens += data.count(TOKEN, looked)
        looked = max(looked, len(data) - len(TOKEN) + 1) if not data.endswith(TOKEN) else len(data)
        if tokens >= count:
            done = [f for f in fragments(bytes(data), whole=False) if f.token]
            if len(done) >= count:
                payload.close()
                return done
