"""A viewer by WHEP (aiortc) that gets its TURN servers as the AWS clients do: nat_viewer.py URL AUTHORIZATION STREAM CHANNEL-ARN SCHEME PICTURES.

SCHEME is the beginning of the TURN address to use (`turns:`, `turn:`), or `none`. Prints `pictures N transport T seconds S` when so many pictures were
decoded, and fails after 20 s without."""
import asyncio
import sys
import time

import aiohttp
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription

LIMIT_S = 20


async def main():
    url, authorization, stream, channel, scheme, wanted = sys.argv[1:]
    headers = {"authorization": authorization}
    async with aiohttp.ClientSession(headers=headers) as http:
        servers = []
        if scheme != "none":
            async with http.post(f"{url}/v1/get-ice-server-config", json={"ChannelARN": channel}) as answer:
                told = await answer.json(content_type=None)
                assert answer.status == 200, told
            for one in told["IceServerList"]:
                for uri in one["Uris"]:
                    if uri.startswith(scheme) and uri.endswith("transport=tcp"):
                        servers.append(RTCIceServer(uri, username=one["Username"], credential=one["Password"]))
            assert servers, told
        began = time.monotonic()
        peer = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        peer.addTransceiver("video", direction="recvonly")
        done = asyncio.get_running_loop().create_future()

        @peer.on("track")
        def track(track):
            async def read():
                for _ in range(int(wanted)):
                    picture = await track.recv()
                    assert picture.width > 100 and picture.height > 100
                done.set_result(None)

            asyncio.ensure_future(read())

        await peer.setLocalDescription(await peer.createOffer())
        async with http.post(f"{url}/v1/streams/{stream}/whep", data=peer.localDescription.sdp, headers={"content-type": "application/sdp"}) as answer:
            text = await answer.text()
            assert answer.status == 201, text
        await peer.setRemoteDescription(RTCSessionDescription(sdp=text, type="answer"))
        try:
            await asyncio.wait_for(done, LIMIT_S)
        except asyncio.TimeoutError:
            print("no picture", flush=True)
            sys.exit(3)
        print(f"pictures {wanted} after {time.monotonic() - began:.1f} s", flush=True)
        await peer.close()


asyncio.run(main())
