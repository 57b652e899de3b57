"""Viewers of live streams by WHEP (aiortc), for the tests: viewers.py URL AUTHORIZATION STREAM… connects one for each name, says
`watching N` once each has a picture, and lives until its standard input ends. Stopped (SIGSTOP), they are viewers that read nothing."""
import asyncio
import sys

import aiohttp
from aiortc import RTCPeerConnection, RTCSessionDescription


async def watch(http, url, authorization, stream, first):
    peer = RTCPeerConnection()
    peer.addTransceiver("video", direction="recvonly")

    @peer.on("track")
    def track(track):
        async def read():
            try:
                while True:
                    await track.recv()
                    if not first.done():
                        first.set_result(None)
            except Exception as error:  # The end of the stream, or of the test.
                if not first.done():
                    first.set_exception(error)

        asyncio.ensure_future(read())

    await peer.setLocalDescription(await peer.createOffer())
    headers = {"authorization": authorization, "content-type": "application/sdp"}
    async with http.post(f"{url}/v1/streams/{stream}/whep", data=peer.localDescription.sdp, headers=headers) as answer:
        text = await answer.text()
        assert answer.status == 201, text
    await peer.setRemoteDescription(RTCSessionDescription(sdp=text, type="answer"))
    return peer


async def main():
    url, authorization, *streams = sys.argv[1:]
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as http:
        peers = []
        for stream in streams:
            first = loop.create_future()
            peers.append(await watch(http, url, authorization, stream, first))
            await asyncio.wait_for(first, 30)
        print("watching", len(peers), flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
