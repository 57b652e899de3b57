"""GetIceServerConfig by boto3: where it says TURN is, what its credentials are made of, and that they are taken there."""

import base64
import re
import shutil
import subprocess
import time
from urllib.parse import urlsplit

from cases import shows
from clients import Case, client
from server import server

MADE = ("CreateSignalingChannel",)


class Ice(Case):
    def setUp(self):
        self.kvs = client()
        self.signaling = client("kinesis-video-signaling")

    def made(self):
        return self.kvs.create_signaling_channel(ChannelName=self.called())["ChannelARN"]

    def servers(self, arn, **more):
        return self.signaling.get_ice_server_config(ChannelARN=arn, **more)["IceServerList"]

    @shows("GetIceServerConfig", needs=MADE)
    def test_servers_of_a_channel(self):
        arn = self.made()
        before = int(time.time())
        for more in ({}, {"Service": "TURN"}, {"ClientId": "viewer-1", "Username": "someone", "Service": "TURN"}):
            servers = self.servers(arn, **more)
            self.assertTrue(1 <= len(servers) <= 5)
            for one in servers:
                self.assertTrue(1 <= len(one["Uris"]) <= 4)
                self.assertTrue(30 <= one["Ttl"] <= 86400)
                ends, channel = one["Username"].split(":")
                self.assertTrue(before + one["Ttl"] <= int(ends) <= time.time() + one["Ttl"])
                self.assertEqual(base64.b64decode(channel).decode(), f"v1:{arn}")
                self.assertEqual(len(base64.b64decode(one["Password"], validate=True)), 32)
                host = urlsplit(f"//{server().authority}").hostname
                for uri in one["Uris"]:
                    found = re.fullmatch(r"turns?:(.+):(\d+)\?transport=(udp|tcp)", uri)
                    self.assertEqual(found[1].strip("[]"), host, uri)

    @shows("GetIceServerConfig", error="ResourceNotFoundException", needs=MADE)
    def test_of_no_channel(self):
        arn = self.made()
        self.refused("ResourceNotFoundException", self.servers, arn.replace(self.called(), "none"))
        self.kvs.delete_signaling_channel(ChannelARN=arn)
        self.refused("ResourceNotFoundException", self.servers, arn)

    @shows("GetIceServerConfig", error="InvalidArgumentException", needs=MADE)
    def test_of_wrong_members(self):
        arn = self.made()
        self.signaling = client("kinesis-video-signaling", parameter_validation=False)
        for wrong in ({"ClientId": "a b"}, {"ClientId": ""}, {"Username": "x" * 257}, {"Service": "STUN"}):
            self.refused("InvalidArgumentException", self.servers, arn, **wrong)
        self.refused("InvalidArgumentException", self.servers, "arn:aws:kinesisvideo:us-east-1:1:stream/a/1")

    @shows("GetIceServerConfig", needs=MADE)
    def test_coturns_client_gets_through_with_them(self):
        if not shutil.which("turnutils_uclient"):
            self.skipTest("skipped: turnutils_uclient (coturn) is not here")
        one = self.servers(self.made())[0]
        udp = next(uri for uri in one["Uris"] if uri.endswith("=udp"))
        host, port = re.fullmatch(r"turn:(.+):(\d+)\?.*", udp).groups()
        # Client to client: through two relays, each a peer of the other.
        call = ["turnutils_uclient", "-y", "-c", "-m", "2", "-n", "20", "-l", "200", "-p", port, "-u", one["Username"], "-w", one["Password"], host.strip("[]")]
        said = subprocess.run(call, capture_output=True, text=True, timeout=60)
        self.assertRegex(said.stdout, r"Total lost packets 0 ", said.stdout[-2000:] + said.stderr[-2000:])
