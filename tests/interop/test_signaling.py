"""Masters and viewers of signaling channels: signed by botocore, on WebSockets; and SendAlexaOfferToMaster."""

import base64
import json
import signal
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from cases import shows
from clients import Case, client, of_session
from server import KEY, SECRET, Server, server
from websocket import Refused, WebSocket, presigned

OFFER = "b2ZmZXI="


class Signaling(Case):
    def setUp(self):
        self.kvs = client()
        self.signaling = client("kinesis-video-signaling")

    def made(self, kvs=None):
        return (kvs or self.kvs).create_signaling_channel(ChannelName=self.called())["ChannelARN"]

    def endpoint(self, arn, role, kvs=None):
        given = {"Protocols": ["WSS"], "Role": role}
        (found,) = (kvs or self.kvs).get_signaling_channel_endpoint(ChannelARN=arn, SingleMasterChannelEndpointConfiguration=given)["ResourceEndpointList"]
        return found["ResourceEndpoint"]

    def master(self, arn, **more):
        return WebSocket(presigned(self.endpoint(arn, "MASTER"), arn, **more))

    def viewer(self, arn, name, **more):
        return WebSocket(presigned(self.endpoint(arn, "VIEWER"), arn, name, **more))

    @shows("GetSignalingChannelEndpoint", needs=["CreateSignalingChannel"])
    def test_a_viewer_and_its_master_talk(self):
        arn = self.made()
        with self.viewer(arn, "v.1") as viewer:
            viewer.send(action="SDP_OFFER", messagePayload=OFFER, correlationId="1")
            with self.master(arn) as master:
                self.assertEqual(master.got(), {"messageType": "SDP_OFFER", "senderClientId": "v.1", "messagePayload": OFFER})
                master.send(action="SDP_ANSWER", messagePayload="YQ==", correlationId="2")
                status = master.got()["statusResponse"]
                self.assertEqual((status["correlationId"], status["statusCode"], status["success"]), ("2", "400", False))
                self.assertIn("recipientClientId", status["description"])
                master.send(action="SDP_ANSWER", messagePayload="YQ==", recipientClientId="v.1")
                self.assertEqual(viewer.got(), {"messageType": "SDP_ANSWER", "messagePayload": "YQ=="})
                with self.master(arn) as again:
                    self.assertEqual(master.got()[0], 1000)
                    viewer.send(action="ICE_CANDIDATE", messagePayload="Yw==")
                    self.assertEqual(again.got()["messageType"], "ICE_CANDIDATE")

    @shows("GetSignalingChannelEndpoint", needs=["CreateSignalingChannel", "GetSessionToken"])
    def test_the_credentials_of_a_session(self):
        arn = self.made()
        given = client("sts").get_session_token(DurationSeconds=900)["Credentials"]
        by = {"key": given["AccessKeyId"], "secret": given["SecretAccessKey"], "token": given["SessionToken"]}
        self.assertTrue(of_session("kinesisvideo", given).describe_signaling_channel(ChannelARN=arn))
        with self.viewer(arn, "v1", **by) as viewer:
            viewer.send(action="SDP_OFFER", messagePayload="x", recipientClientId="v1", correlationId="1")
            self.assertEqual(viewer.got()["statusResponse"]["correlationId"], "1")
        with self.assertRaises(Refused) as caught:
            self.viewer(arn, "v1", **(by | {"token": by["token"][:-4] + "AAAA"}))
        self.assertEqual((caught.exception.status, caught.exception.error), (403, "UnrecognizedClientException"))

    def test_who_is_not_let_in(self):
        arn = self.made()
        for status, error, says, given in (
            (403, "InvalidSignatureException", "does not match", {"secret": "another"}),
            (403, "UnrecognizedClientException", "token", {"key": "AKIDNOBODY"}),
            (404, "ResourceNotFoundException", "no-such", {"arn": arn.replace(self.called(), "no-such")}),
            (400, "InvalidArgumentException", "X-Amz-ClientId", {"name": "a b"}),
            (400, "InvalidArgumentException", "X-Amz-ClientId", {"name": "AWS_viewer"}),
        ):
            name, of = given.pop("name", "v1"), given.pop("arn", arn)
            with self.subTest(error, says=says), self.assertRaises(Refused) as caught:
                WebSocket(presigned(self.endpoint(arn, "VIEWER"), of, name, **given))
            found = caught.exception
            self.assertEqual((found.status, found.error), (status, error), found.message)
            self.assertIn(says, found.message)

    def test_a_server_that_stops_tells_its_clients(self):
        own = Server()
        try:
            kvs = client(at=own)
            arn = self.made(kvs)
            master = WebSocket(presigned(self.endpoint(arn, "MASTER", kvs), arn))
            viewers = [WebSocket(presigned(self.endpoint(arn, "VIEWER", kvs), arn, f"v{n}")) for n in range(20)]
            own.child.send_signal(signal.SIGTERM)
            for socket in [master, *viewers]:
                with socket:
                    self.assertEqual(socket.got(), {"messageType": "GO_AWAY"})
                    self.assertEqual(socket.got(), (1001, "the server stops"))
            self.assertEqual(own.child.wait(10), 0)
        finally:
            own.stop()

    def test_presence(self):
        arn = self.made()
        basic = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
        request = urllib.request.Request(f"{server().url}/v1/channels/{self.called()}/presence", headers={"Authorization": f"Basic {basic}"})

        def shown():
            with urllib.request.urlopen(request, timeout=10) as answer:
                found = json.load(answer)
            return found["master"] is not None, [viewer["client_id"] for viewer in found["viewers"]]

        self.assertEqual(shown(), (False, []))
        with self.master(arn), self.viewer(arn, "v2"), self.viewer(arn, "v1"):
            self.assertEqual(shown(), (True, ["v1", "v2"]))

    @shows("SendAlexaOfferToMaster", needs=["CreateSignalingChannel"])
    def test_an_offer_is_answered_by_the_master(self):
        arn = self.made()
        with self.master(arn) as master, ThreadPoolExecutor(1) as pool:
            asked = pool.submit(self.signaling.send_alexa_offer_to_master, ChannelARN=arn, SenderClientId="alexa", MessagePayload=OFFER)
            self.assertEqual(master.got(), {"messageType": "SDP_OFFER", "senderClientId": "alexa", "messagePayload": OFFER})
            master.send(action="SDP_ANSWER", recipientClientId="alexa", messagePayload="YW5zd2Vy")
            self.assertEqual(asked.result(15)["Answer"], "YW5zd2Vy")

    @shows("SendAlexaOfferToMaster", error="ResourceNotFoundException", needs=["CreateSignalingChannel"])
    def test_an_offer_that_nobody_can_answer(self):
        arn = self.made()
        given = {"ChannelARN": arn, "SenderClientId": "alexa", "MessagePayload": OFFER}
        self.refused("ResourceNotFoundException", self.signaling.send_alexa_offer_to_master, says="no master", **given)

    @shows("SendAlexaOfferToMaster", error="ClientLimitExceededException", needs=["CreateSignalingChannel"])
    def test_too_many_offers_at_once(self):
        arn = self.made()

        def ask(n):
            # A client of its own: each waits on its connection.
            own = client("kinesis-video-signaling", retries={"max_attempts": 0})
            return own.send_alexa_offer_to_master(ChannelARN=arn, SenderClientId=f"a{n}", MessagePayload=OFFER)["Answer"]

        with self.master(arn) as master, ThreadPoolExecutor(32) as pool:
            asked = [pool.submit(ask, n) for n in range(32)]
            senders = [master.got()["senderClientId"] for _ in asked]
            self.refused("ClientLimitExceededException", self.signaling.send_alexa_offer_to_master, says="32 offers", ChannelARN=arn, SenderClientId="one-more", MessagePayload=OFFER)
            for sender in senders:
                master.send(action="SDP_ANSWER", recipientClientId=sender, messagePayload="YQ==")
            self.assertEqual([future.result(15) for future in asked], ["YQ=="] * 32)
