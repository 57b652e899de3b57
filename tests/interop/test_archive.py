"""The archive: ListFragments and GetMediaForFragmentList."""

import functools

import mkv
from cases import shows
from clients import Case, client
from putmedia import PutMedia

NEEDS = ("CreateStream", "PutMedia")
TIMES = [1_700_000_000_000 + 1000 * i for i in range(25)]
CLUSTERS = [mkv.cluster(t, frames=25, size=50) for t in TIMES]


@functools.cache
def recorded():
    """A stream with 25 fragments of a second each, and their numbers."""
    client().create_stream(StreamName="Archive.recorded", DataRetentionInHours=87600)
    acks = PutMedia("Archive.recorded").send(mkv.header() + b"".join(CLUSTERS)).end()
    return "Archive.recorded", [a["FragmentNumber"] for a in acks if a["EventType"] == "PERSISTED"]


class Archive(Case):
    def setUp(self):
        self.archive = client("kinesis-video-archived-media")

    def pages(self, size, **given):
        stream, _ = recorded()
        pages = self.archive.get_paginator("list_fragments").paginate(StreamName=stream, PaginationConfig={"PageSize": size}, **given)
        return [p.get("Fragments", []) for p in pages]

    def between(self, start, end, by="PRODUCER_TIMESTAMP"):
        """Which fragments begin from one ms to another. Botocore sends whole seconds."""
        given = {"FragmentSelectorType": by, "TimestampRange": {"StartTimestamp": start / 1000, "EndTimestamp": end / 1000}}
        found = [f for p in self.pages(1000, FragmentSelector=given) for f in p]
        return [recorded()[1].index(f["FragmentNumber"]) for f in sorted(found, key=lambda f: f["FragmentNumber"])]

    @shows("ListFragments", needs=NEEDS)
    def test_all_fragments_by_page(self):
        _, numbers = recorded()
        pages = self.pages(10)
        self.assertEqual([len(p) for p in pages], [10, 10, 5])
        found = sorted((f for p in pages for f in p), key=lambda f: f["FragmentNumber"])
        self.assertEqual([f["FragmentNumber"] for f in found], numbers)
        for fragment, at, cluster in zip(found, TIMES, CLUSTERS, strict=True):
            self.assertEqual(round(fragment["ProducerTimestamp"].timestamp() * 1000), at)
            self.assertEqual(round(fragment["ServerTimestamp"].timestamp() * 1000), int(fragment["FragmentNumber"]) >> 28 & (1 << 64) - 1)
            self.assertEqual(fragment["FragmentLengthInMilliseconds"], 1000)
            self.assertGreaterEqual(fragment["FragmentSizeInBytes"], len(cluster))
        whole = self.archive.list_fragments(StreamName=recorded()[0])
        self.assertEqual(len(whole["Fragments"]), 25)
        self.assertFalse(whole.get("NextToken"))

    @shows("ListFragments", needs=NEEDS)
    def test_ranges_are_of_starts_and_inclusive(self):
        self.assertEqual(self.between(TIMES[3], TIMES[6]), [3, 4, 5, 6])
        self.assertEqual(self.between(TIMES[0] - 1000, TIMES[1]), [0, 1])
        self.assertEqual(self.between(TIMES[4], TIMES[4]), [4])
        self.assertEqual(self.between(0, TIMES[0] - 1000), [])
        server = [int(n) >> 28 & (1 << 64) - 1 for n in recorded()[1]]
        self.assertEqual(self.between(server[0], server[-1] + 1000, "SERVER_TIMESTAMP"), list(range(25)))
        self.assertEqual(self.between(server[-1] + 1000, server[-1] + 2000, "SERVER_TIMESTAMP"), [])

    @shows("ListFragments", error="InvalidArgumentException", needs=NEEDS)
    def test_lists_that_cannot_be(self):
        stream, _ = recorded()
        backwards = {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": {"StartTimestamp": 1_700_000_009, "EndTimestamp": 1_700_000_001}}
        self.refused("InvalidArgumentException", self.archive.list_fragments, StreamName=stream, FragmentSelector=backwards)
        self.refused("InvalidArgumentException", self.archive.list_fragments, StreamName=stream, NextToken="AAAA", says="NextToken")
        token = self.archive.list_fragments(StreamName=stream, MaxResults=5)["NextToken"]
        self.assertRegex(token, r"^[a-zA-Z0-9+/]+={0,2}$")
        self.assertLessEqual(len(token), 4096)
        client().create_stream(StreamName=self.called(), DataRetentionInHours=1)
        self.refused("InvalidArgumentException", self.archive.list_fragments, StreamName=self.called(), NextToken=token, says="NextToken")

    @shows("ListFragments", needs=["CreateStream"])
    def test_an_empty_stream(self):
        client().create_stream(StreamName=self.called(), DataRetentionInHours=1)
        self.assertEqual(self.archive.list_fragments(StreamName=self.called()).get("Fragments"), [], "an empty list, not none")

    @shows("ListFragments", "GetMediaForFragmentList", error="NoDataRetentionException", needs=["CreateStream"])
    def test_a_stream_without_archive(self):
        client().create_stream(StreamName=self.called())
        _, numbers = "", ["91343852333181432392682062620000000000000000000"]
        self.refused("NoDataRetentionException", self.archive.list_fragments, StreamName=self.called())
        self.refused("NoDataRetentionException", self.archive.get_media_for_fragment_list, StreamName=self.called(), Fragments=numbers)

    @shows("GetMediaForFragmentList", needs=NEEDS)
    def test_fragments_in_the_order_asked_for(self):
        stream, numbers = recorded()
        order = [7, 3, 24, 0, 3]
        answer = self.archive.get_media_for_fragment_list(StreamName=stream, Fragments=[numbers[i] for i in order])
        self.assertEqual(answer["ContentType"], "video/webm")
        found = [f for f in mkv.fragments(answer["Payload"].read()) if f.cluster]
        self.assertEqual([f.cluster for f in found], [CLUSTERS[i] for i in order])
        self.assertEqual([f.number for f in found], [numbers[i] for i in order])
        self.assertTrue(all(f.tag("SERVER_TIMESTAMP") and f.tag("PRODUCER_TIMESTAMP") for f in found))

    @shows("GetMediaForFragmentList", needs=NEEDS)
    def test_everything_at_once(self):
        stream, numbers = recorded()
        data = self.archive.get_media_for_fragment_list(StreamName=stream, Fragments=numbers)["Payload"].read()
        self.assertEqual([f.cluster for f in mkv.fragments(data) if f.cluster], CLUSTERS)

    @shows("GetMediaForFragmentList", error="ResourceNotFoundException", needs=NEEDS)
    def test_a_fragment_that_is_not_there(self):
        """Either it is refused, or told in tags within the answer; never left out in silence."""
        stream, numbers = recorded()
        missing = str(int(numbers[0]) + 1)
        try:
            data = self.archive.get_media_for_fragment_list(StreamName=stream, Fragments=[numbers[0], missing])["Payload"].read()
        except self.archive.exceptions.ResourceNotFoundException as e:
            self.assertIn(missing, str(e))
            return
        tags = [t for k, _, i, e in mkv.top(data) if k == mkv.TAGS for t in mkv.simple_tags(data[i:e])]
        self.assertTrue([n for n, _ in tags if "ERROR" in n], tags)
