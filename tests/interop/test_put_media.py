"""PutMedia, with real producers' bytes and made ones: acknowledgements, refusals, connections that end in every way."""

import http.server
import json
import queue
import threading
import time

import admin
import mkv
from cases import shows
from clients import client
from producing import Media, decoded
from putmedia import PutMedia
from server import ACCOUNT, FIXTURES, REGION, Server


class Producers(Media):
    @shows("PutMedia", needs=["CreateStream"])
    def test_a_producers_session(self):
        if not FIXTURES.is_dir():
            self.skipTest("../shared is not here")
        data = (FIXTURES / "kvssink-h264-session.mkv").read_bytes()
        timecodes = [1795406284992 + 2000 * i for i in range(18)]
        before = time.time() * 1000
        session = PutMedia(self.made(), expect=True)
        self.assertTrue(session.continued, "100 Continue")
        self.assertEqual(session.headers["transfer-encoding"], "chunked")
        self.assertRegex(session.headers["x-amzn-requestid"], "^[0-9a-f-]{36}$")
        numbers = self.ordered(session.send(data).end(), timecodes)
        counters, times = zip(*map(decoded, numbers), strict=True)
        self.assertEqual(list(counters), list(range(counters[0], counters[0] + 18)))
        self.assertTrue(all(before - 1000 <= t <= time.time() * 1000 + 1000 for t in times))
        for chunk in session.chunks:
            self.assertLess(len(chunk), 1024)
            self.assertRegex(chunk, rb'^{"EventType":"[A-Z]+","FragmentTimecode":\d+,"FragmentNumber":"\d{47}"}\r?\n?$', "as the service writes it")

    @shows("PutMedia", needs=["CreateStream", "ListFragments"])
    def test_relative_timecodes(self):
        """Acknowledged as they were sent; stored with the start added, however the producer writes it."""
        archive = client("kinesis-video-archived-media")
        for i, start in enumerate(("1700000000.250", "1700000000", "2023-11-14T22:13:20.250Z")):
            stream = self.made(suffix=f".{i}")
            acks = self.sent(stream, mkv.header() + mkv.cluster(500) + mkv.cluster(1500), timecodes="RELATIVE", start=start)
            self.ordered(acks, [500, 1500])
            times = sorted(f["ProducerTimestamp"].timestamp() for f in archive.list_fragments(StreamName=stream)["Fragments"])
            base = 1_700_000_000 if i == 1 else 1_700_000_000.25
            self.assertEqual([round(t, 3) for t in times], [base + 0.5, base + 1.5])

    @shows("PutMedia", needs=["CreateStream"])
    def test_every_way_of_signing(self):
        arn = self.kvs.create_stream(StreamName=self.called(), DataRetentionInHours=1)["StreamARN"]
        for i, way in enumerate((dict(), dict(sign="query"), dict(unsigned_payload=True), dict(stream=arn))):
            with self.subTest(way):
                acks = self.sent(way.pop("stream", self.called()), mkv.header() + mkv.cluster(1_700_000_000_000 + i * 1000), **way)
                self.assertEqual([a["EventType"] for a in acks], ["BUFFERING", "RECEIVED", "PERSISTED"])

    def denied(self, status, error, says="", **given):
        session = PutMedia(**given)
        self.assertEqual((session.status, session.error), (status, error), session.__dict__.get("message"))
        self.assertRegex(session.message, says or ".")

    @shows("PutMedia", error="ResourceNotFoundException")
    def test_no_such_stream(self):
        self.denied(404, "ResourceNotFoundException", stream="no-such-stream")
        self.denied(404, "ResourceNotFoundException", stream=f"arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:stream/no-such-stream/1700000000000")

    @shows("PutMedia", error="InvalidArgumentException", needs=["CreateStream"])
    def test_headers_that_do_not_hold(self):
        stream = self.made()
        arn = self.kvs.describe_stream(StreamName=stream)["StreamInfo"]["StreamARN"]
        for headers, says in (
            ({"x-amzn-fragment-timecode-type": None}, "x-amzn-fragment-timecode-type"),
            ({"x-amzn-fragment-timecode-type": "SOMETIMES"}, "x-amzn-fragment-timecode-type"),
            ({"x-amzn-stream-arn": arn}, "x-amzn-stream-(name|arn)"),
            ({"x-amzn-stream-name": None}, "x-amzn-stream-(name|arn)"),
            ({"x-amzn-fragment-timecode-type": "RELATIVE", "x-amzn-producer-start-timestamp": None}, "x-amzn-producer-start-timestamp"),
            ({"x-amzn-fragment-timecode-type": "RELATIVE", "x-amzn-producer-start-timestamp": "soon"}, "x-amzn-producer-start-timestamp"),
        ):
            with self.subTest(headers):
                self.denied(400, "InvalidArgumentException", says, stream=stream, headers=headers)

    @shows("PutMedia", error="ConnectionLimitExceededException", needs=["CreateStream"])
    def test_more_sessions_than_are_allowed(self):
        """Where that is limited; a session that has ended makes room."""
        own = Server(env={"VIDICON_PUTMEDIA__MAX_SESSIONS": "2"})
        self.addCleanup(own.stop)
        client(at=own).create_stream(StreamName=self.called(), DataRetentionInHours=1)
        first, _ = PutMedia(self.called(), at=own), PutMedia(self.called(), at=own)
        third = PutMedia(self.called(), at=own)
        self.assertEqual((third.status, third.error), (400, "ConnectionLimitExceededException"), third.message)
        first.end()
        until = time.monotonic() + 10
        while PutMedia(self.called(), at=own).status != 200:
            self.assertLess(time.monotonic(), until, "the session that has ended made no room")
            time.sleep(0.1)

    @shows("PutMedia", needs=["CreateStream"])
    def test_strangers(self):
        stream = self.made()
        self.denied(403, "MissingAuthenticationTokenException", stream=stream, sign="none")
        self.denied(403, "InvalidSignatureException", stream=stream, credentials={"AccessKeyId": "TESTKEY", "SecretAccessKey": "wrong"})
        self.denied(403, "UnrecognizedClientException", stream=stream, credentials={"AccessKeyId": "AKIDNOBODY", "SecretAccessKey": "wrong"})

    @shows("PutMedia", needs=["CreateStream", "GetMedia"])
    def test_what_is_no_matroska(self):
        """An error acknowledgement with its id; what came before stays; the body is read to its end."""
        stream = self.made()
        session = PutMedia(stream)
        session.send(mkv.header() + mkv.cluster(1_700_000_000_000) + mkv.cluster(1_700_000_001_000) + b"\0" * 64)
        error = session.wait("ERROR")
        self.assertEqual((error["ErrorId"], error["ErrorCode"]), (4006, "INVALID_MKV_DATA"))
        session.send(b"more that nobody reads")
        acks = session.end()
        self.assertEqual(sum(a["EventType"] == "ERROR" for a in acks), 1)
        self.assertEqual(sum(a["EventType"] == "PERSISTED" for a in acks), 2)
        self.assertEqual(len(self.watched(stream, 2)), 2)

    @shows("PutMedia", needs=["CreateStream", "ListFragments"])
    def test_a_fragment_too_large_for_memory(self):
        """Told with 4001, whether its size is stated or not, while it comes; what came before stays, and so does what comes after."""
        stream, at = self.made(), 1_700_000_000_000
        archive = client("kinesis-video-archived-media")
        stated = mkv.cluster(at + 1000, frames=2, size=50 << 20)
        unstated = stated[:4] + b"\xff" + mkv.cluster(at + 1000, frames=70, size=1 << 20)[8:]
        for cluster in (stated, unstated):
            session = PutMedia(stream)
            session.send(mkv.header() + mkv.cluster(at))
            session.wait("PERSISTED", at)
            began = time.monotonic()
            session.send(cluster, pieces=1 << 20)
            error = session.wait("ERROR")
            self.assertEqual((error["ErrorId"], error["ErrorCode"], error["FragmentTimecode"]), (4001, "MAX_FRAGMENT_SIZE_REACHED", at + 1000))
            self.assertRegex(error["Message"], rf"^stream {stream}, byte \d+: .*58720256 bytes")
            self.assertLess(time.monotonic() - began, 15)
            session.end()
        self.ordered(self.sent(stream, mkv.header() + mkv.cluster(at + 2000)), [at + 2000])
        times = [f["ProducerTimestamp"].timestamp() * 1000 for f in archive.list_fragments(StreamName=stream)["Fragments"]]
        self.assertEqual(sorted(map(round, times)), [at, at + 2000])

    @shows("PutMedia", needs=["CreateStream", "GetMedia", "GetSessionToken"])
    def test_credentials_rotate_with_overlapping_sessions(self):
        """As kvssink does it (§2.5): the next session is opened with new credentials, stays silent until the last acknowledgement of the one before,
        and goes on from there."""
        stream = self.made()
        sts = client("sts")
        at, numbers, old, expected = 1_700_000_000_000, [], None, []
        for turn in range(3):
            new = PutMedia(stream, credentials=sts.get_session_token(DurationSeconds=900)["Credentials"])
            self.assertEqual(new.status, 200)
            if old:
                old.send(mkv.END_OF_FRAGMENT)
                old.wait("PERSISTED", expected[-1][0])
                old.end()
                numbers += old.persisted()
            made = [(at + 1000 * (turn * 2 + i), mkv.cluster(at + 1000 * (turn * 2 + i))) for i in range(2)]
            new.send(mkv.header() + b"".join(c for _, c in made))
            expected += made
            old = new
        old.end()
        numbers += old.persisted()
        found = self.watched(stream, 6)
        self.assertEqual([f.cluster for f in found], [c for _, c in expected])
        self.assertEqual([f.number for f in found], numbers)
        counters = [decoded(n)[0] for n in numbers]
        self.assertEqual([c % 1000 for c in counters], [1, 2] * 3, "a session begins at the next thousand (§3.3)")
        self.assertEqual(counters, sorted(set(counters)))

    @shows("PutMedia", needs=["CreateStream", "GetMedia", "ListFragments"])
    def test_a_connection_lost_within_a_fragment(self):
        """The client sends it again: it is there once, and nothing that was acknowledged is missing."""
        stream = self.made()
        times = [1_700_000_000_000 + 1000 * i for i in range(4)]
        clusters = [mkv.cluster(t) for t in times]
        session = PutMedia(stream)
        session.send(mkv.header() + clusters[0] + clusters[1] + clusters[2][: len(clusters[2]) // 2])
        session.wait("BUFFERING", times[2])
        session.close()
        # What was not known to be persisted is sent again, one of them although it was.
        acks = self.sent(stream, mkv.header() + b"".join(clusters[1:]))
        self.assertEqual([a["FragmentTimecode"] for a in acks if a["EventType"] == "PERSISTED"], times[1:])
        listed = client("kinesis-video-archived-media").list_fragments(StreamName=stream)["Fragments"]
        self.assertEqual(sorted(round(f["ProducerTimestamp"].timestamp() * 1000) for f in listed), times, "each once")
        found = self.watched(stream, 4)
        self.assertEqual({f.timecode: f.cluster for f in found}, dict(zip(times, clusters, strict=True)))

    @shows("PutMedia", needs=["CreateStream", "DeleteStream"])
    def test_the_stream_is_deleted_meanwhile(self):
        stream = self.made()
        session = PutMedia(stream)
        session.send(mkv.header() + mkv.cluster(1_700_000_000_000))
        session.wait("PERSISTED")
        self.kvs.delete_stream(StreamARN=self.kvs.describe_stream(StreamName=stream)["StreamInfo"]["StreamARN"])
        session.send(mkv.cluster(1_700_000_001_000))
        session.send(mkv.cluster(1_700_000_002_000))
        self.assertEqual(session.wait("ERROR")["ErrorId"], 4008)

    @shows("PutMedia", "UpdateNotificationConfiguration", needs=["CreateStream"])
    def test_a_fragment_that_somebody_is_told_of(self):
        """The tag of §7.3, and the message that SNS would post."""
        posted = queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                posted.put((dict(self.headers.items()), self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        self.addCleanup(receiver.server_close)
        self.addCleanup(receiver.shutdown)
        admin.target("told", f"http://127.0.0.1:{receiver.server_port}/")
        stream, topic = self.made(), f"arn:aws:sns:{REGION}:{ACCOUNT}:told"
        self.kvs.update_notification_configuration(StreamName=stream, NotificationConfiguration={"Status": "ENABLED", "DestinationConfig": {"Uri": topic}})
        asked = mkv.tags(("AWS_KINESISVIDEO_NOTIFICATION", ""), ("door", "open"))
        at = 1_700_000_000_000
        acks = self.sent(stream, mkv.header() + mkv.cluster(at) + asked + mkv.cluster(at + 1000) + mkv.cluster(at + 2000))
        headers, body = posted.get(timeout=15)
        envelope = json.loads(body)
        self.assertEqual({k.lower(): v for k, v in headers.items()}["x-amz-sns-message-type"], "Notification")
        self.assertEqual((envelope["Type"], envelope["TopicArn"], envelope["Subject"]), ("Notification", topic, "Kinesis Video Streams Notification"))
        message = json.loads(envelope["Message"])
        (number,) = {a["FragmentNumber"] for a in acks if a.get("FragmentTimecode") == at + 1000}
        self.assertEqual(
            message,
            {
                "StreamArn": self.kvs.describe_stream(StreamName=stream)["StreamInfo"]["StreamARN"], "FragmentNumber": number,
                "FragmentStartProducerTimestamp": at + 1000, "FragmentStartServerTimestamp": decoded(number)[1],
                "NotificationType": "PERSISTED", "NotificationPayload": {"door": "open"},
            },
        )
        self.assertTrue(posted.empty(), "of this fragment only")
