"""Signaling channels, their endpoints, and where their sessions are stored."""

import re
import time
from urllib.parse import urlsplit

from cases import shows
from clients import Case, client
from server import ACCOUNT, REGION, server

MADE = ("CreateSignalingChannel", "DescribeSignalingChannel")
ARN = rf"arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:channel/(.+)/(\d+)"


class Channels(Case):
    def setUp(self):
        self.kvs = client()

    def made(self, suffix="", **more):
        return self.kvs.create_signaling_channel(ChannelName=self.called(suffix), **more)["ChannelARN"]

    def stream(self, hours=24, suffix=""):
        return self.kvs.create_stream(StreamName=self.called(suffix), DataRetentionInHours=hours)["StreamARN"]

    def info(self, arn):
        return self.kvs.describe_signaling_channel(ChannelARN=arn)["ChannelInfo"]

    def stored(self, channel, stream=None, status="ENABLED"):
        given = {"Status": status} | ({"StreamARN": stream} if stream else {})
        self.kvs.update_media_storage_configuration(ChannelARN=channel, MediaStorageConfiguration=given)

    @shows(*MADE)
    def test_a_channel_is_made_and_described(self):
        arn = self.made(Tags=[{"Key": "site", "Value": "north"}])
        name, created = re.fullmatch(ARN, arn).groups()
        info = self.info(arn)
        self.assertEqual(info, self.kvs.describe_signaling_channel(ChannelName=name)["ChannelInfo"])
        self.assertEqual((info["ChannelName"], info["ChannelARN"], info["ChannelStatus"]), (name, arn, "ACTIVE"))
        self.assertEqual((info["ChannelType"], info["SingleMasterConfiguration"]), ("SINGLE_MASTER", {"MessageTtlSeconds": 60}))
        self.assertEqual(round(info["CreationTime"].timestamp() * 1000), int(created))
        self.assertRegex(info["Version"], r"^[a-zA-Z0-9]{20}$")
        other = self.made(".2", ChannelType="FULL_MESH")
        self.assertEqual(self.info(other)["ChannelType"], "FULL_MESH")
        short = self.made(".3", SingleMasterConfiguration={"MessageTtlSeconds": 5})
        self.assertEqual(self.info(short)["SingleMasterConfiguration"]["MessageTtlSeconds"], 5)

    @shows("CreateSignalingChannel", error="ResourceInUseException", needs=["CreateStream"])
    def test_a_name_is_taken_once_per_kind(self):
        self.stream()
        self.made()
        self.refused("ResourceInUseException", self.made, says=re.escape(self.called()))

    @shows("CreateSignalingChannel", error="TagsPerResourceExceededLimitException")
    def test_too_many_tags_at_creation(self):
        given = [{"Key": f"k{i}", "Value": "v"} for i in range(51)]
        strict = client(parameter_validation=False)
        self.refused(("TagsPerResourceExceededLimitException", "InvalidArgumentException"), strict.create_signaling_channel, ChannelName=self.called(), Tags=given)
        self.made(Tags=given[:50])

    @shows("ListSignalingChannels", needs=MADE)
    def test_channels_are_listed_by_page(self):
        arns = {self.made(f".{i}") for i in range(5)}
        condition = {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": self.called(".")}
        pages = list(self.kvs.get_paginator("list_signaling_channels").paginate(ChannelNameCondition=condition, PaginationConfig={"PageSize": 2}))
        self.assertEqual([len(p["ChannelInfoList"]) for p in pages], [2, 2, 1])
        found = [c for p in pages for c in p["ChannelInfoList"]]
        self.assertEqual({c["ChannelARN"] for c in found}, arns)
        self.assertEqual(found[0], self.info(found[0]["ChannelARN"]))
        self.refused("InvalidArgumentException", self.kvs.list_signaling_channels, NextToken="AAAA", says="NextToken")

    @shows("UpdateSignalingChannel", needs=MADE)
    def test_a_channel_is_changed(self):
        arn = self.made()
        before = self.info(arn)
        self.kvs.update_signaling_channel(ChannelARN=arn, CurrentVersion=before["Version"], SingleMasterConfiguration={"MessageTtlSeconds": 30})
        after = self.info(arn)
        self.assertEqual(after["SingleMasterConfiguration"], {"MessageTtlSeconds": 30})
        self.assertNotEqual(after["Version"], before["Version"])

    @shows("UpdateSignalingChannel", "DeleteSignalingChannel", error="VersionMismatchException", needs=MADE)
    def test_another_version(self):
        arn = self.made()
        change = {"SingleMasterConfiguration": {"MessageTtlSeconds": 30}}
        self.refused("VersionMismatchException", self.kvs.update_signaling_channel, ChannelARN=arn, CurrentVersion="a" * 20, **change)
        self.refused("VersionMismatchException", self.kvs.delete_signaling_channel, ChannelARN=arn, CurrentVersion="a" * 20)
        self.assertEqual(self.info(arn)["SingleMasterConfiguration"], {"MessageTtlSeconds": 60})

    @shows("DeleteSignalingChannel", needs=MADE)
    def test_a_channel_is_deleted_and_its_name_is_free(self):
        old = self.made()
        self.kvs.delete_signaling_channel(ChannelARN=old)
        self.refused("ResourceNotFoundException", self.info, old)
        time.sleep(0.01)
        new = self.made()
        self.refused("ResourceNotFoundException", self.info, old)
        self.kvs.delete_signaling_channel(ChannelARN=new, CurrentVersion=self.info(new)["Version"])

    @shows("TagResource", "UntagResource", "ListTagsForResource", needs=["CreateSignalingChannel"])
    def test_tags_of_a_channel(self):
        arn = self.made(Tags=[{"Key": "site", "Value": "north"}])
        self.kvs.tag_resource(ResourceARN=arn, Tags=[{"Key": "floor", "Value": "2"}])
        self.assertEqual(self.kvs.list_tags_for_resource(ResourceARN=arn)["Tags"], {"site": "north", "floor": "2"})
        self.kvs.untag_resource(ResourceARN=arn, TagKeyList=["site"])
        self.assertEqual(self.kvs.list_tags_for_resource(ResourceARN=arn)["Tags"], {"floor": "2"})

    @shows("GetSignalingChannelEndpoint", needs=["CreateSignalingChannel"])
    def test_endpoints_of_a_channel(self):
        arn = self.made()

        def endpoints(**given):
            return {
                e["Protocol"]: e["ResourceEndpoint"]
                for e in self.kvs.get_signaling_channel_endpoint(ChannelARN=arn, **given)["ResourceEndpointList"]
            }

        for role in ("MASTER", "VIEWER"):
            for protocols in (["WSS"], ["HTTPS"], ["WSS", "HTTPS"]):
                found = endpoints(SingleMasterChannelEndpointConfiguration={"Protocols": protocols, "Role": role})
                self.assertEqual(set(found), set(protocols), "only those that were asked for")
                for protocol, url in found.items():
                    self.assertEqual(urlsplit(url).netloc, server().authority)
                    self.assertIn(urlsplit(url).scheme, ("ws", "wss") if protocol == "WSS" else ("http", "https"))
                    self.assertFalse(url.endswith("/") or "?" in url, url)

    @shows("GetSignalingChannelEndpoint", error="InvalidArgumentException", needs=["CreateSignalingChannel"])
    def test_webrtc_needs_storage(self):
        arn = self.made()
        given = {"SingleMasterChannelEndpointConfiguration": {"Protocols": ["WEBRTC"], "Role": "MASTER"}}
        self.refused("InvalidArgumentException", self.kvs.get_signaling_channel_endpoint, ChannelARN=arn, **given)

    @shows("UpdateMediaStorageConfiguration", "DescribeMediaStorageConfiguration", "DescribeMappedResourceConfiguration", needs=["CreateStream", "CreateSignalingChannel"])
    def test_where_sessions_are_stored(self):
        channel, stream = self.made(), self.stream()
        unset = self.kvs.describe_media_storage_configuration(ChannelARN=channel)["MediaStorageConfiguration"]
        self.assertEqual(unset["Status"], "DISABLED")
        self.assertEqual(self.kvs.describe_mapped_resource_configuration(StreamARN=stream)["MappedResourceConfigurationList"], [])
        self.stored(channel, stream)
        told = self.kvs.describe_media_storage_configuration(ChannelName=self.called())["MediaStorageConfiguration"]
        self.assertEqual(told, {"Status": "ENABLED", "StreamARN": stream})
        mapped = [m for p in self.kvs.get_paginator("describe_mapped_resource_configuration").paginate(StreamName=self.called()) for m in p["MappedResourceConfigurationList"]]
        self.assertEqual([m["ARN"] for m in mapped], [channel])
        self.assertTrue(mapped[0]["Type"])
        given = {"SingleMasterChannelEndpointConfiguration": {"Protocols": ["WEBRTC"], "Role": "MASTER"}}
        (endpoint,) = self.kvs.get_signaling_channel_endpoint(ChannelARN=channel, **given)["ResourceEndpointList"]
        self.assertEqual(endpoint["Protocol"], "WEBRTC")
        self.stored(channel, status="DISABLED")
        self.assertEqual(self.kvs.describe_media_storage_configuration(ChannelARN=channel)["MediaStorageConfiguration"]["Status"], "DISABLED")
        self.assertEqual(self.kvs.describe_mapped_resource_configuration(StreamARN=stream)["MappedResourceConfigurationList"], [])

    @shows("UpdateMediaStorageConfiguration", error="NoDataRetentionException", needs=["CreateStream", "CreateSignalingChannel"])
    def test_storage_needs_retention(self):
        self.refused("NoDataRetentionException", self.stored, self.made(), self.stream(0))

    @shows("UpdateMediaStorageConfiguration", "DeleteSignalingChannel", "DeleteStream", error="ResourceInUseException", needs=["CreateStream", "CreateSignalingChannel"])
    def test_one_stream_for_one_channel(self):
        channel, other, stream = self.made(), self.made(".2"), self.stream()
        self.stored(channel, stream)
        self.refused("ResourceInUseException", self.stored, other, stream)
        self.refused("ResourceInUseException", self.kvs.delete_signaling_channel, ChannelARN=channel)
        self.refused("ResourceInUseException", self.kvs.delete_stream, StreamARN=stream)
        self.stored(channel, status="DISABLED")
        self.stored(other, stream)
        self.kvs.delete_signaling_channel(ChannelARN=channel)
        self.stored(other, status="DISABLED")
        self.kvs.delete_stream(StreamARN=stream)
