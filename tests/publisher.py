"""A publisher by WHIP and a viewer by WHEP (aiortc), for the tests: publisher.py URL AUTHORIZATION STREAM [SECONDS]. It encodes pictures whose colour
says their number and a tone, sends them, watches them come back, and prints one JSON object: what the viewer decoded, and the publisher's location.
Then it lives until its standard input ends, and goes without a word if a line `vanish` comes before that."""
import asyncio
import json
import os
import sys

import aiohttp
import av
from aiortc import AudioStreamTrack, RTCPeerConnection, RTCRtpSender, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import MediaStreamError

WIDTH, HEIGHT = 320, 180
# One each: seconds of the picture's colour.
COLOURS = [(60, 90, 200), (200, 60, 90), (90, 200, 60)]


class Pictures(VideoStreamTrack):
    """30 a second; each second has another colour (Y, U, V)."""

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        y, u, v = COLOURS[int(pts * time_base) % len(COLOURS)]
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane, value in zip(frame.planes, (y, u, v)):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.pts, frame.time_base = pts, time_base
        return frame


def colour(frame):
    """Which of the colours a decoded picture shows, or None."""
    frame = frame.reformat(format="yuv420p")
    middle = [bytes(plane)[plane.line_size * (plane.height // 2) + plane.width // 2] for plane in frame.planes]
    for index, wanted in enumerate(COLOURS):
        if all(abs(a - b) < 25 for a, b in zip(middle, wanted)):
            return index
    return None


async def post(http, url, authorization, offer, what):
    headers = {"authorization": authorization, "content-type": "application/sdp"}
    async with http.post(url, data=offer, headers=headers) as answer:
        text = await answer.text()
        assert answer.status == 201, f"{what}: {answer.status} {text}"
        assert answer.headers["content-type"] == "application/sdp"
        return text, answer.headers["location"]


async def main():
    url, authorization, stream, *more = sys.argv[1:]
    seconds = float(more[0]) if more else 4
    async with aiohttp.ClientSession() as http:
        publisher = RTCPeerConnection()
        sender = publisher.addTrack(Pictures())
        transceiver = next(t for t in publisher.getTransceivers() if t.sender == sender)
        h264 = [c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType == "video/H264"]
        transceiver.setCodecPreferences(h264)
        publisher.addTrack(AudioStreamTrack())
        for each in publisher.getTransceivers():
            each.direction = "sendonly"
        await publisher.setLocalDescription(await publisher.createOffer())
        whip = f"{url}/v1/streams/{stream}/whip"
        text, location = await post(http, whip, authorization, publisher.localDescription.sdp, "WHIP")
        await publisher.setRemoteDescription(RTCSessionDescription(sdp=text, type="answer"))
        await asyncio.sleep(3)

        viewer = RTCPeerConnection()
        viewer.addTransceiver("video", direction="recvonly")
        seen, sizes = [], set()

        @viewer.on("track")
        def track(track):
            async def read():
                while True:
                    try:
                        frame = await track.recv()
                    except MediaStreamError:  # The end.
                        return
                    sizes.add((frame.width, frame.height))
                    seen.append(colour(frame))

            asyncio.ensure_future(read())

        await viewer.setLocalDescription(await viewer.createOffer())
        text, _ = await post(http, f"{url}/v1/streams/{stream}/whep", authorization, viewer.localDescription.sdp, "WHEP")
        await viewer.setRemoteDescription(RTCSessionDescription(sdp=text, type="answer"))
        await asyncio.sleep(seconds)
        await viewer.close()
        told = {"location": location, "decoded": len(seen), "colours": sorted({c for c in seen if c is not None}),
                "unknown": seen.count(None), "sizes": sorted(sizes)}
        print(json.dumps(told), flush=True)
        said = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        if said.strip() == "vanish":
            os._exit(0)
        await publisher.close()


asyncio.run(main())
