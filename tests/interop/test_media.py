"""PutMedia with real producers' bytes, and what GetMedia gives back to boto3."""

import itertools
import time

import mkv
import watching
from cases import shows
from clients import Case, client, of_session
from putmedia import PutMedia
from server import ACCOUNT, FIXTURES, REGION, Server

BOTH = ("PutMedia", "GetMedia")
EARLIEST = {"StartSelectorType": "EARLIEST"}


def decoded(number):
    """(counter, server time in ms) of a fragment number (REFERENCE §3.3)."""
    value = int(number)
    assert len(number) == 47 and value >> 156 == 1, number
    return value >> 92 & (1 << 64) - 1, value >> 28 & (1 << 64) - 1


class Media(Case):
    def setUp(self):
        self.kvs = client()
        self.media = client("kinesis-video-media")

    def made(self, hours=24, suffix=""):
        self.kvs.create_stream(StreamName=self.called(suffix), DataRetentionInHours=hours)
        return self.called(suffix)

    def sent(self, stream, data, **more):
        """A whole session; gives its acknowledgements."""
        return PutMedia(stream, **more).send(data).end()

    def watched(self, stream, count, selector=EARLIEST, least=0):
        payload = self.media.get_media(StreamName=stream, StartSelector=selector)["Payload"]
        return watching.read(payload, count, least)

    def ordered(self, acks, timecodes):
        """What must hold of the acknowledgements of a session without errors: §2.2."""
        of = {t: [a["EventType"] for a in acks if a.get("FragmentTimecode") == t] for t in timecodes}
        self.assertEqual(of, {t: ["BUFFERING", "RECEIVED", "PERSISTED"] for t in timecodes})
        for event in ("BUFFERING", "RECEIVED", "PERSISTED"):
            self.assertEqual([a["FragmentTimecode"] for a in acks if a["EventType"] == event], timecodes, "in order")
        numbers = [{a["FragmentNumber"] for a in acks if a.get("FragmentTimecode") == t} for t in timecodes]
        self.assertTrue(all(len(n) == 1 for n in numbers), "a fragment has one number")
        numbers = [n.pop() for n in numbers]
        self.assertEqual(numbers, sorted(set(numbers)), "they grow, as texts")
        return numbers

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

    @shows(*BOTH, needs=["CreateStream"])
    def test_fixtures_come_back_with_clusters_byte_identical(self):
        if not FIXTURES.is_dir():
            self.skipTest("../shared is not here")
        for file in sorted(FIXTURES.glob("*.mkv")):
            data = file.read_bytes()
            clusters = mkv.clusters(data)
            for timecodes in ("ABSOLUTE", "RELATIVE"):
                with self.subTest(file.name, timecodes=timecodes):
                    stream = self.made(suffix=f".{file.stem}.{timecodes}")
                    acks = self.sent(stream, data, timecodes=timecodes, start="1700000000.000")
                    self.assertEqual(sum(a["EventType"] == "PERSISTED" for a in acks), len(clusters), acks[-3:])
                    if not clusters:
                        continue
                    found = self.watched(stream, len(clusters), least=sum(map(len, clusters)))
                    self.assertEqual([f.cluster for f in found], clusters)
                    persisted = [a["FragmentNumber"] for a in acks if a["EventType"] == "PERSISTED"]
                    self.assertEqual([f.number for f in found], persisted)
                    head = [data[a:e] for k, a, _, e in mkv.top(data, whole=False) if k in (mkv.EBML, mkv.INFO, mkv.TRACKS)][:3]
                    for part in head:
                        self.assertIn(part, found[0].header, "the producer's own header")

    @shows(*BOTH, needs=["CreateStream"])
    def test_tags_around_a_fragment(self):
        stream = self.made()
        before = time.time()
        own = mkv.tags(("door", "open"), ("empty", ""))
        now = 1_700_000_000_123
        self.sent(stream, mkv.header() + own + mkv.cluster(now) + mkv.cluster(now + 1000))
        first, second = self.watched(stream, 2)
        self.assertEqual(first.before[:2], [("door", "open"), ("empty", "")], "the producer's, before the server's")
        self.assertEqual(
            {n.removeprefix("AWS_KINESISVIDEO_") for n, _ in first.before[2:]} & {"FRAGMENT_NUMBER", "SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP"},
            {"FRAGMENT_NUMBER", "SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP"},
        )
        self.assertNotIn("door", dict(second.before))
        self.assertEqual(first.tag("PRODUCER_TIMESTAMP"), "1700000000.123")
        self.assertRegex(first.tag("SERVER_TIMESTAMP"), r"^\d+\.\d{3}$")
        self.assertEqual(round(float(first.tag("SERVER_TIMESTAMP")) * 1000), decoded(first.number)[1])
        self.assertTrue(before - 1 <= float(first.tag("SERVER_TIMESTAMP")) <= time.time() + 1)
        after = dict(first.after)
        self.assertRegex(after["AWS_KINESISVIDEO_MILLIS_BEHIND_NOW"], r"^\d+$")
        self.assertEqual(after["AWS_KINESISVIDEO_CONTINUATION_TOKEN"], first.number)

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
        self.assertEqual(PutMedia(self.called(), at=own).status, 200)

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

    @shows(*BOTH, needs=["CreateStream"])
    def test_without_retention(self):
        """Nothing is acknowledged as persisted, and NOW works from what is held (§3.1)."""
        stream = self.made(hours=0)
        acks = self.sent(stream, mkv.header() + mkv.cluster(1_700_000_000_000) + mkv.cluster(1_700_000_001_000))
        self.assertEqual([a["EventType"] for a in acks], ["BUFFERING", "RECEIVED"] * 2)
        (found,) = self.watched(stream, 1, {"StartSelectorType": "NOW"})
        self.assertEqual(found.timecode, 1_700_000_001_000)

    @shows("GetMedia", needs=["CreateStream", "PutMedia"])
    def test_start_selectors(self):
        stream = self.made()
        times = [1_700_000_000_000 + 2000 * i for i in range(5)]
        acks = self.sent(stream, mkv.header() + b"".join(mkv.cluster(t, frames=50) for t in times))
        numbers = [a["FragmentNumber"] for a in acks if a["EventType"] == "PERSISTED"]
        server = {n: decoded(n)[1] for n in numbers}

        def first(**selector):
            return numbers.index(self.watched(stream, 1, selector)[0].number)

        self.assertEqual(first(StartSelectorType="EARLIEST"), 0)
        self.assertEqual(first(StartSelectorType="NOW"), 4)
        self.assertEqual(first(StartSelectorType="FRAGMENT_NUMBER", AfterFragmentNumber=numbers[1]), 2)
        self.assertEqual(first(StartSelectorType="CONTINUATION_TOKEN", ContinuationToken=numbers[2]), 3)
        for at, expected in ((times[2], 2), (times[2] + 1000, 2), (times[3] - 1, 2), (times[0] - 5000, 0)):
            self.assertEqual(first(StartSelectorType="PRODUCER_TIMESTAMP", StartTimestamp=at / 1000), expected, at)
        self.assertEqual(numbers[first(StartSelectorType="SERVER_TIMESTAMP", StartTimestamp=server[numbers[0]] / 1000 - 1)], numbers[0])

    @shows("GetMedia", needs=["CreateStream", "PutMedia"])
    def test_a_fragment_that_is_not_there(self):
        """No HTTP error: error id 4000 in tags, and the end (§3.1)."""
        stream = self.made()
        self.sent(stream, mkv.header() + mkv.cluster(1_700_000_000_000))
        payload = self.media.get_media(StreamName=stream, StartSelector={"StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": str((1 << 156) + 5)})["Payload"]
        data = payload.read()
        told = dict(itertools.chain(*(mkv.simple_tags(data[i:e]) for k, _, i, e in mkv.top(data) if k == mkv.TAGS)))
        self.assertEqual(told.get("AWS_KINESISVIDEO_ERROR_ID"), "4000")
        self.assertTrue(told.get("AWS_KINESISVIDEO_ERROR_CODE"))

    @shows("GetMedia", error="InvalidArgumentException", needs=["CreateStream"])
    def test_selectors_that_do_not_hold(self):
        stream = self.made()
        for selector in (
            {"StartSelectorType": "FRAGMENT_NUMBER"},
            {"StartSelectorType": "PRODUCER_TIMESTAMP"},
            {"StartSelectorType": "SERVER_TIMESTAMP"},
            {"StartSelectorType": "CONTINUATION_TOKEN"},
            {"StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": "no-token"},
        ):
            with self.subTest(selector):
                self.refused("InvalidArgumentException", self.media.get_media, StreamName=stream, StartSelector=selector)

    @shows(*BOTH, needs=["CreateStream"])
    def test_watching_while_it_is_recorded(self):
        """NOW waits for what comes, and the next EBML header is there before its fragment is whole."""
        stream = self.made()
        session = PutMedia(stream)
        session.send(mkv.header() + mkv.cluster(1_700_000_000_000))
        session.wait("PERSISTED")
        answer = self.media.get_media(StreamName=stream, StartSelector={"StartSelectorType": "NOW"})
        self.assertEqual(answer["ContentType"], "video/webm")
        payload = answer["Payload"]
        whole = mkv.cluster(1_700_000_002_000, frames=20)
        session.send(whole[: len(whole) // 2])
        session.wait("BUFFERING", 1_700_000_002_000)
        began = time.monotonic()
        head = b""
        while head.count(b"\x1aE\xdf\xa3") < 2:
            head += payload.read(1)
        self.assertLess(time.monotonic() - began, 2)
        session.send(whole[len(whole) // 2 :])
        while not head.endswith(whole):
            head += payload.read(1)
        session.end()
        payload.close()

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

    @shows("GetMedia", needs=["CreateStream", "PutMedia", "GetSessionToken"])
    def test_with_session_credentials(self):
        stream = self.made()
        credentials = client("sts").get_session_token(DurationSeconds=900)["Credentials"]
        self.sent(stream, mkv.header() + mkv.cluster(1_700_000_000_000), credentials=credentials)
        payload = of_session("kinesis-video-media", credentials).get_media(StreamName=stream, StartSelector=EARLIEST)["Payload"]
        self.assertEqual(len(watching.read(payload, 1)), 1)
