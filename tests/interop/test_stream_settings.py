"""What can be set on a stream: tags, notifications, images, storage, edge agents."""

import admin
from cases import shows
from clients import Case, client
from inputs import EDGE, HUB, IMAGES, NOTIFY
from server import ACCOUNT, REGION

MADE = ("CreateStream", "DescribeStream")


class Settings(Case):
    def setUp(self):
        self.kvs = client()
        self.strict = client(parameter_validation=False)

    def made(self, suffix="", **more):
        return self.kvs.create_stream(StreamName=self.called(suffix), **more)["StreamARN"]

    def tags(self):
        return self.kvs.list_tags_for_stream(StreamName=self.called())["Tags"]

    @shows("TagStream", "UntagStream", "ListTagsForStream", needs=MADE)
    def test_tags_of_a_stream(self):
        arn = self.made(Tags={"site": "north", "floor": "2"})
        self.assertEqual(self.tags(), {"site": "north", "floor": "2"})
        self.kvs.tag_stream(StreamName=self.called(), Tags={"site": "south", "room a/b": "x=y+z@:_-.", "empty": ""})
        self.assertEqual(self.tags(), {"site": "south", "floor": "2", "room a/b": "x=y+z@:_-.", "empty": ""})
        self.kvs.untag_stream(StreamARN=arn, TagKeyList=["floor", "was-never-there"])
        self.assertEqual(self.tags(), {"site": "south", "room a/b": "x=y+z@:_-.", "empty": ""})
        self.assertEqual(self.kvs.list_tags_for_stream(StreamARN=arn)["Tags"], self.tags())

    @shows("TagResource", "UntagResource", "ListTagsForResource", needs=["CreateStream", "ListTagsForStream"])
    def test_tags_of_a_resource(self):
        arn = self.made()
        self.kvs.tag_resource(ResourceARN=arn, Tags=[{"Key": "site", "Value": "north"}, {"Key": "floor", "Value": "2"}])
        self.assertEqual(self.kvs.list_tags_for_resource(ResourceARN=arn)["Tags"], {"site": "north", "floor": "2"})
        self.assertEqual(self.tags(), {"site": "north", "floor": "2"}, "the same tags by the operation of streams")
        self.kvs.untag_resource(ResourceARN=arn, TagKeyList=["site"])
        self.assertEqual(self.kvs.list_tags_for_resource(ResourceARN=arn)["Tags"], {"floor": "2"})

    @shows("TagStream", "TagResource", error="TagsPerResourceExceededLimitException", needs=["CreateStream", "ListTagsForStream"])
    def test_more_tags_than_a_resource_takes(self):
        arn = self.made(Tags={f"k{i}": "v" for i in range(50)})
        self.kvs.tag_stream(StreamName=self.called(), Tags={"k0": "again"})
        limit = "TagsPerResourceExceededLimitException"
        self.refused(limit, self.kvs.tag_stream, StreamName=self.called(), Tags={"one-more": "v"})
        self.refused(limit, self.kvs.tag_resource, ResourceARN=arn, Tags=[{"Key": "one-more", "Value": "v"}])
        self.assertEqual(len(self.tags()), 50)

    @shows("TagStream", "UntagStream", "ListTagsForStream", error="InvalidResourceFormatException")
    def test_an_arn_that_is_none_of_a_stream(self):
        wrong = f"arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:stream"
        either = ("InvalidResourceFormatException", "InvalidArgumentException")
        self.refused(either, self.strict.tag_stream, StreamARN=wrong, Tags={"a": "b"})
        self.refused(either, self.strict.untag_stream, StreamARN=wrong, TagKeyList=["a"])
        self.refused(either, self.strict.list_tags_for_stream, StreamARN=wrong)

    @shows("UpdateNotificationConfiguration", "DescribeNotificationConfiguration", needs=["CreateStream"])
    def test_notifications(self):
        arn = self.made(DataRetentionInHours=1)
        admin.target("doors")
        self.assertFalse(self.kvs.describe_notification_configuration(StreamName=self.called()).get("NotificationConfiguration"))
        for given in (NOTIFY, {"Status": "DISABLED", "DestinationConfig": {"Uri": "https://hooks.example/kvs"}}):
            self.kvs.update_notification_configuration(StreamName=self.called(), NotificationConfiguration=given)
            self.assertEqual(self.kvs.describe_notification_configuration(StreamARN=arn)["NotificationConfiguration"], given)
        nobody = {**NOTIFY, "DestinationConfig": {"Uri": NOTIFY["DestinationConfig"]["Uri"] + "-that-nobody-has"}}
        self.refused(
            "InvalidArgumentException", self.kvs.update_notification_configuration,
            StreamName=self.called(), NotificationConfiguration=nobody, says="doors-that-nobody-has",
        )

    @shows("UpdateImageGenerationConfiguration", "DescribeImageGenerationConfiguration", needs=["CreateStream"])
    def test_images(self):
        arn = self.made(DataRetentionInHours=1)
        self.assertFalse(self.kvs.describe_image_generation_configuration(StreamName=self.called()).get("ImageGenerationConfiguration"))
        short = {k: v for k, v in IMAGES.items() if k not in ("FormatConfig", "WidthPixels", "HeightPixels")} | {"Format": "PNG", "Status": "DISABLED"}
        for given in (IMAGES, short):
            self.kvs.update_image_generation_configuration(StreamName=self.called(), ImageGenerationConfiguration=given)
            self.assertEqual(self.kvs.describe_image_generation_configuration(StreamARN=arn)["ImageGenerationConfiguration"], given)
        for wrong in ({"SamplingInterval": 199}, {"FormatConfig": {"JPEGQuality": "101"}}):
            with self.subTest(wrong=wrong):
                self.refused("InvalidArgumentException", self.kvs.update_image_generation_configuration, StreamName=self.called(), ImageGenerationConfiguration={**IMAGES, **wrong})

    @shows("UpdateNotificationConfiguration", "UpdateImageGenerationConfiguration", "StartEdgeConfigurationUpdate", error="NoDataRetentionException", needs=["CreateStream"])
    def test_settings_that_need_retention(self):
        self.made()
        for call, given in (
            (self.kvs.update_notification_configuration, {"NotificationConfiguration": NOTIFY}),
            (self.kvs.update_image_generation_configuration, {"ImageGenerationConfiguration": IMAGES}),
            (self.kvs.start_edge_configuration_update, {"EdgeConfig": EDGE}),
        ):
            with self.subTest(call=call.__name__):
                self.refused("NoDataRetentionException", call, StreamName=self.called(), **given)

    @shows("UpdateStreamStorageConfiguration", "DescribeStreamStorageConfiguration", needs=MADE)
    def test_storage(self):
        arn = self.made(StreamStorageConfiguration={"DefaultStorageTier": "WARM"}, DataRetentionInHours=24 * 30)
        told = self.kvs.describe_stream_storage_configuration(StreamName=self.called())
        self.assertEqual((told["StreamName"], told["StreamARN"]), (self.called(), arn))
        self.assertEqual(told["StreamStorageConfiguration"], {"DefaultStorageTier": "WARM"})
        version = self.kvs.describe_stream(StreamARN=arn)["StreamInfo"]["Version"]
        self.kvs.update_stream_storage_configuration(StreamARN=arn, CurrentVersion=version, StreamStorageConfiguration={"DefaultStorageTier": "HOT"})
        told = self.kvs.describe_stream_storage_configuration(StreamARN=arn)
        self.assertEqual(told["StreamStorageConfiguration"], {"DefaultStorageTier": "HOT"})
        self.assertNotEqual(self.kvs.describe_stream(StreamARN=arn)["StreamInfo"]["Version"], version)
        self.made(".plain")
        plain = self.kvs.describe_stream_storage_configuration(StreamName=self.called(".plain"))
        self.assertEqual(plain["StreamStorageConfiguration"], {"DefaultStorageTier": "HOT"}, "HOT when nothing was said")

    @shows("UpdateStreamStorageConfiguration", error="VersionMismatchException", needs=["CreateStream"])
    def test_storage_of_another_version(self):
        self.made()
        self.refused(
            "VersionMismatchException", self.kvs.update_stream_storage_configuration,
            StreamName=self.called(), CurrentVersion="a" * 20, StreamStorageConfiguration={"DefaultStorageTier": "HOT"},
        )

    @shows("StartEdgeConfigurationUpdate", "DescribeEdgeConfiguration", "DeleteEdgeConfiguration", needs=["CreateStream"])
    def test_edge(self):
        arn = self.made(DataRetentionInHours=1)
        told = self.kvs.start_edge_configuration_update(StreamName=self.called(), EdgeConfig=EDGE)
        self.assertEqual((told["StreamName"], told["StreamARN"], told["EdgeConfig"]), (self.called(), arn, EDGE))
        self.assertIn(told["SyncStatus"], ("SYNCING", "ACKNOWLEDGED"))
        self.assertLessEqual(told["CreationTime"], told["LastUpdatedTime"])
        self.assertEqual(self.kvs.describe_edge_configuration(StreamARN=arn)["EdgeConfig"], EDGE)
        self.kvs.delete_edge_configuration(StreamName=self.called())
        # In the cloud this waits for the agent; here there is none.
        self.refused("StreamEdgeConfigurationNotFoundException", self.kvs.describe_edge_configuration, StreamName=self.called())

    @shows("DescribeEdgeConfiguration", "DeleteEdgeConfiguration", error="StreamEdgeConfigurationNotFoundException", needs=["CreateStream"])
    def test_no_edge(self):
        self.made(DataRetentionInHours=1)
        for call in (self.kvs.describe_edge_configuration, self.kvs.delete_edge_configuration):
            self.refused("StreamEdgeConfigurationNotFoundException", call, StreamName=self.called())

    @shows("ListEdgeAgentConfigurations", needs=["CreateStream", "StartEdgeConfigurationUpdate"])
    def test_agents_of_a_hub(self):
        hub = HUB + "-of-the-list"
        arns = set()
        for i in range(3):
            arns.add(self.made(f".{i}", DataRetentionInHours=1))
            self.kvs.start_edge_configuration_update(StreamName=self.called(f".{i}"), EdgeConfig={**EDGE, "HubDeviceArn": hub})
        pages = list(self.kvs.get_paginator("list_edge_agent_configurations").paginate(HubDeviceArn=hub, PaginationConfig={"PageSize": 2}))
        self.assertEqual([len(p["EdgeConfigs"]) for p in pages], [2, 1])
        self.assertEqual({c["StreamARN"] for p in pages for c in p["EdgeConfigs"]}, arns)
        self.assertEqual(pages[0]["EdgeConfigs"][0]["EdgeConfig"]["HubDeviceArn"], hub)
        self.assertEqual(self.kvs.list_edge_agent_configurations(HubDeviceArn=HUB + "-none")["EdgeConfigs"], [])
