"""GetMedia: what producers sent, byte by byte, from wherever a consumer starts."""

import itertools
import time

import mkv
import watching
from cases import shows
from clients import client, of_session
from producing import EARLIEST, Media, decoded
from putmedia import PutMedia
from server import FIXTURES

BOTH = ("PutMedia", "GetMedia")


class Consumers(Media):
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
        self.assertLess(time.monotonic() - began, 10)
        session.send(whole[len(whole) // 2 :])
        while not head.endswith(whole):
            head += payload.read(1)
        session.end()
        payload.close()

    @shows("GetMedia", needs=["CreateStream", "PutMedia", "GetSessionToken"])
    def test_with_session_credentials(self):
        stream = self.made()
        credentials = client("sts").get_session_token(DurationSeconds=900)["Credentials"]
        self.sent(stream, mkv.header() + mkv.cluster(1_700_000_000_000), credentials=credentials)
        payload = of_session("kinesis-video-media", credentials).get_media(StreamName=stream, StartSelector=EARLIEST)["Payload"]
        self.assertEqual(len(watching.read(payload, 1)), 1)
