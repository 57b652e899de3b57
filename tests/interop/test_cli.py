"""The aws command line (version 1, of PyPI) with --endpoint-url: every operation that is served, in the order in which somebody would use them."""

import contextlib
import functools
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import admin
import cases
import mkv
from botocore import xform_name
from inputs import EDGE, HUB, IMAGES, NOTIFY
from models import service_of
from oidc import Provider
from putmedia import PutMedia
from server import ACCOUNT, KEY, REGION, SECRET, server

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": REGION,
    "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true",
}
CALLED = set()


class Failed(Exception):
    pass


@functools.cache
def driver(environment):
    """The program's insides; made once for each set of credentials."""
    from awscli.clidriver import create_clidriver

    with mock.patch.dict(os.environ, dict(environment)):
        return create_clidriver()


def aws(operation, /, *arguments, **options):
    """Runs `aws SERVICE OPERATION` in this process, which spares its start; gives the JSON that it prints. Options are its --options."""
    CALLED.add(operation)
    service = service_of(operation)
    line = [service, xform_name(operation, "-"), "--endpoint-url", server().url, *arguments]
    for name, value in options.items():
        line += [f"--{name.replace('_', '-')}", value if isinstance(value, str) else json.dumps(value)]
    out, err = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
    with mock.patch.dict(os.environ, ENVIRONMENT), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = driver(tuple(sorted(ENVIRONMENT.items()))).main(line)
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    if code:
        raise Failed(texts[1].strip() or f"{line}: exit {code}")
    return json.loads(texts[0]) if texts[0].strip() else None


class Cli(unittest.TestCase):
    def needs(self, *operations):
        if reason := cases.not_served(operations):
            CALLED.update(operations)  # they will be
            self.skipTest(reason)

    def fails(self, error, operation, /, **options):
        with self.assertRaisesRegex(Failed, rf"An error occurred \({error}\) when calling the {operation} operation"):
            aws(operation, **options)

    def test_as_a_program(self):
        """As a process of its own, found by the name of the module as the `aws` script does it."""
        self.needs("ListStreams")
        line = [sys.executable, "-m", "awscli", "kinesisvideo", "list-streams", "--endpoint-url", server().url]
        ran = subprocess.run(line, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=30)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertIn("StreamInfoList", json.loads(ran.stdout))

    def test_1_streams(self):
        self.needs("CreateStream", "DescribeStream", "ListStreams", "UpdateStream", "UpdateDataRetention", "GetDataEndpoint", "DeleteStream")
        arn = aws("CreateStream", stream_name="cli", data_retention_in_hours="2", media_type="video/h264", tags="site=north,floor=2")["StreamARN"]

        def version():
            return aws("DescribeStream", stream_name="cli")["StreamInfo"]["Version"]

        aws("UpdateStream", stream_arn=arn, current_version=version(), device_name="door")
        aws("UpdateDataRetention", stream_name="cli", current_version=version(), operation="INCREASE_DATA_RETENTION", data_retention_change_in_hours="1")
        info = aws("DescribeStream", stream_name="cli")["StreamInfo"]
        self.assertEqual((info["DataRetentionInHours"], info["DeviceName"]), (3, "door"))
        listed = aws("ListStreams", "--page-size", "1", stream_name_condition="ComparisonOperator=BEGINS_WITH,ComparisonValue=cli")
        self.assertEqual([s["StreamARN"] for s in listed["StreamInfoList"]], [arn])
        self.assertEqual(aws("GetDataEndpoint", stream_name="cli", api_name="LIST_FRAGMENTS")["DataEndpoint"], server().url)
        self.fails("ResourceInUseException", "CreateStream", stream_name="cli")
        self.fails("VersionMismatchException", "DeleteStream", stream_arn=arn, current_version="a" * 20)
        aws("DeleteStream", stream_arn=arn)
        self.fails("ResourceNotFoundException", "DescribeStream", stream_name="cli")

    def test_2_settings_of_streams(self):
        self.needs("CreateStream", "DescribeStream")
        named = {"stream_name": "cli.settings"}
        arn = aws("CreateStream", **named, data_retention_in_hours="24")["StreamARN"]
        with self.subTest("tags"):
            self.needs("TagStream", "UntagStream", "ListTagsForStream", "TagResource", "UntagResource", "ListTagsForResource")
            aws("TagStream", **named, tags="site=north")
            aws("TagResource", resource_arn=arn, tags="Key=floor,Value=2")
            self.assertEqual(aws("ListTagsForStream", **named)["Tags"], {"site": "north", "floor": "2"})
            aws("UntagStream", **named, tag_key_list="site")
            aws("UntagResource", resource_arn=arn, tag_key_list="floor")
            self.assertFalse(aws("ListTagsForResource", resource_arn=arn)["Tags"])
        with self.subTest("notifications"):
            self.needs("UpdateNotificationConfiguration", "DescribeNotificationConfiguration")
            admin.target("doors")
            aws("UpdateNotificationConfiguration", **named, notification_configuration=NOTIFY)
            self.assertEqual(aws("DescribeNotificationConfiguration", **named)["NotificationConfiguration"], NOTIFY)
        with self.subTest("images"):
            self.needs("UpdateImageGenerationConfiguration", "DescribeImageGenerationConfiguration")
            aws("UpdateImageGenerationConfiguration", **named, image_generation_configuration=IMAGES)
            self.assertEqual(aws("DescribeImageGenerationConfiguration", **named)["ImageGenerationConfiguration"], IMAGES)
        with self.subTest("storage"):
            self.needs("UpdateStreamStorageConfiguration", "DescribeStreamStorageConfiguration")
            version = aws("DescribeStream", **named)["StreamInfo"]["Version"]
            aws("UpdateStreamStorageConfiguration", **named, current_version=version, stream_storage_configuration="DefaultStorageTier=WARM")
            told = aws("DescribeStreamStorageConfiguration", **named)["StreamStorageConfiguration"]
            self.assertEqual(told, {"DefaultStorageTier": "WARM"})
        with self.subTest("edge"):
            self.needs("StartEdgeConfigurationUpdate", "DescribeEdgeConfiguration", "DeleteEdgeConfiguration", "ListEdgeAgentConfigurations")
            hub = HUB + "-of-the-cli"
            aws("StartEdgeConfigurationUpdate", **named, edge_config={**EDGE, "HubDeviceArn": hub})
            self.assertEqual(aws("DescribeEdgeConfiguration", **named)["EdgeConfig"]["HubDeviceArn"], hub)
            self.assertEqual([c["StreamARN"] for c in aws("ListEdgeAgentConfigurations", hub_device_arn=hub)["EdgeConfigs"]], [arn])
            aws("DeleteEdgeConfiguration", **named)

    def test_3_channels(self):
        self.needs("CreateSignalingChannel", "DescribeSignalingChannel", "ListSignalingChannels", "UpdateSignalingChannel", "DeleteSignalingChannel", "GetSignalingChannelEndpoint")
        arn = aws("CreateSignalingChannel", channel_name="cli", single_master_configuration="MessageTtlSeconds=30", tags="Key=site,Value=north")["ChannelARN"]
        info = aws("DescribeSignalingChannel", channel_name="cli")["ChannelInfo"]
        self.assertEqual(info["SingleMasterConfiguration"]["MessageTtlSeconds"], 30)
        aws("UpdateSignalingChannel", channel_arn=arn, current_version=info["Version"], single_master_configuration="MessageTtlSeconds=45")
        listed = aws("ListSignalingChannels", channel_name_condition="ComparisonOperator=BEGINS_WITH,ComparisonValue=cli")
        self.assertEqual([c["SingleMasterConfiguration"]["MessageTtlSeconds"] for c in listed["ChannelInfoList"]], [45])
        told = aws("GetSignalingChannelEndpoint", channel_arn=arn, single_master_channel_endpoint_configuration="Protocols=WSS,HTTPS,Role=VIEWER")
        self.assertEqual({e["Protocol"] for e in told["ResourceEndpointList"]}, {"WSS", "HTTPS"})
        with self.subTest("an offer"):
            self.needs("SendAlexaOfferToMaster")
            self.fails("ResourceNotFoundException", "SendAlexaOfferToMaster", channel_arn=arn, sender_client_id="cli", message_payload="b2ZmZXI=")
        with self.subTest("TURN"):
            self.needs("GetIceServerConfig")
            servers = aws("GetIceServerConfig", channel_arn=arn, client_id="cli", service="TURN")["IceServerList"]
            self.assertTrue(servers and all(uri.startswith("turn") for one in servers for uri in one["Uris"]), servers)
        with self.subTest("storage"):
            self.needs("CreateStream", "UpdateMediaStorageConfiguration", "DescribeMediaStorageConfiguration", "DescribeMappedResourceConfiguration")
            stream = aws("CreateStream", stream_name="cli.of-channel", data_retention_in_hours="1")["StreamARN"]
            aws("UpdateMediaStorageConfiguration", channel_arn=arn, media_storage_configuration=f"Status=ENABLED,StreamARN={stream}")
            self.assertEqual(aws("DescribeMediaStorageConfiguration", channel_name="cli")["MediaStorageConfiguration"]["StreamARN"], stream)
            self.assertEqual([m["ARN"] for m in aws("DescribeMappedResourceConfiguration", stream_arn=stream)["MappedResourceConfigurationList"]], [arn])
            aws("UpdateMediaStorageConfiguration", channel_arn=arn, media_storage_configuration="Status=DISABLED")
        aws("DeleteSignalingChannel", channel_arn=arn)
        self.fails("ResourceNotFoundException", "DescribeSignalingChannel", channel_name="cli")

    def test_4_media(self):
        self.needs("CreateStream", "PutMedia", "GetMedia", "ListFragments", "GetMediaForFragmentList")
        named = {"stream_name": "cli.media"}
        aws("CreateStream", **named, data_retention_in_hours="24")
        clusters = [mkv.cluster(1_700_000_000_000 + i * 1000) for i in range(3)]
        PutMedia("cli.media").send(mkv.header() + b"".join(clusters)).end()
        listed = aws("ListFragments", **named, fragment_selector='{"FragmentSelectorType":"PRODUCER_TIMESTAMP","TimestampRange":{"StartTimestamp":1700000000,"EndTimestamp":1700000009}}')
        numbers = sorted(f["FragmentNumber"] for f in listed["Fragments"])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "out.mkv"
            told = aws("GetMediaForFragmentList", str(file), **named, fragments=numbers)
            self.assertEqual(told["ContentType"], "video/webm")
            self.assertEqual([f.cluster for f in mkv.fragments(file.read_bytes())], clusters)
            # GetMedia has no end; the command is stopped, as people do.
            CALLED.add("GetMedia")
            line = [sys.executable, "-m", "awscli", "kinesis-video-media", "get-media", "--endpoint-url", server().url, "--stream-name", "cli.media", "--start-selector", "StartSelectorType=EARLIEST", str(file)]
            file.unlink()
            child = subprocess.Popen(line, env={**os.environ, **ENVIRONMENT}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                # The CLI writes what it has in pieces of 4096 bytes: the rest of the last one comes with more media.
                while not file.exists() or len(file.read_bytes()) < 4096:
                    more = PutMedia("cli.media").send(mkv.header() + mkv.cluster(1_700_000_100_000 + len(numbers) * 1000, size=4096)).end()
                    numbers.append(more[-1]["FragmentNumber"])
                    self.assertLess(len(numbers), 100)
                self.assertTrue(file.read_bytes().find(clusters[0]) > 0)
            finally:
                child.terminate()
                child.communicate()

    def test_5_sts(self):
        self.needs("GetCallerIdentity", "GetSessionToken")
        self.assertEqual(aws("GetCallerIdentity")["Account"], ACCOUNT)
        given = aws("GetSessionToken", duration_seconds="900")["Credentials"]
        session = {"AWS_ACCESS_KEY_ID": given["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"], "AWS_SESSION_TOKEN": given["SessionToken"]}
        with mock.patch.dict(ENVIRONMENT, session):
            self.assertEqual(aws("GetCallerIdentity")["Account"], ACCOUNT)
        if reason := cases.not_served(["AssumeRole"]) or admin.missing():
            self.skipTest(reason)
        role = admin.role("cli", admin.allow("kinesisvideo:*"))
        told = aws("AssumeRole", role_arn=role, role_session_name="cli")
        self.assertRegex(told["AssumedRoleUser"]["Arn"], "assumed-role/cli/cli$")

    def test_6_web_identity(self):
        self.needs("AssumeRoleWithWebIdentity")
        provider = Provider()
        self.addCleanup(provider.stop)
        self.assertEqual(admin.call("POST", "/v1/oidc-providers", {"url": provider.url, "client_ids": ["page"], "allow_local": True})[0], 201)
        role = admin.role("cli-web", admin.allow("kinesisvideo:*"), provider.trust())
        told = aws("AssumeRoleWithWebIdentity", "--no-sign-request", role_arn=role, role_session_name="cli", web_identity_token=provider.token())
        self.assertEqual(told["SubjectFromWebIdentityToken"], "ann")

    def test_9_none_was_forgotten(self):
        if not CALLED:
            self.skipTest("not served: any operation")
        self.assertEqual(cases.SERVED - {"PutMedia"} - CALLED, set(), "served, and not tried with the command line")
