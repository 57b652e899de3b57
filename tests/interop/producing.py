"""What tests of media share: streams, sessions of producers, and what is read back."""

import watching
from clients import Case, client
from putmedia import PutMedia

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
