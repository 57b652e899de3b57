"""For each operation an input that holds, for the tests that go over all of them."""

import functools
import time

from clients import client
from server import ACCOUNT, REGION

HUB = f"arn:aws:iot:{REGION}:{ACCOUNT}:thing/hub"
EDGE = {
    "HubDeviceArn": HUB,
    "RecorderConfig": {
        "MediaSourceConfig": {"MediaUriSecretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:camera", "MediaUriType": "RTSP_URI"},
        "ScheduleConfig": {"ScheduleExpression": "0 0/15 * * * ?", "DurationInSeconds": 600},
    },
    "UploaderConfig": {"ScheduleConfig": {"ScheduleExpression": "0 0 * * * ?", "DurationInSeconds": 600}},
    "DeletionConfig": {
        "EdgeRetentionInHours": 24,
        "LocalSizeConfig": {"MaxLocalMediaSizeInMB": 1024, "StrategyOnFullSize": "DELETE_OLDEST_MEDIA"},
        "DeleteAfterUpload": True,
    },
}
IMAGES = {
    "Status": "ENABLED",
    "ImageSelectorType": "SERVER_TIMESTAMP",
    "DestinationConfig": {"Uri": "s3://bucket/prefix", "DestinationRegion": "us-east-1"},
    "SamplingInterval": 1000,
    "Format": "JPEG",
    "FormatConfig": {"JPEGQuality": "80"},
    "WidthPixels": 640,
    "HeightPixels": 360,
}
# The topic is the name of a target (`admin.target`).
NOTIFY = {"Status": "ENABLED", "DestinationConfig": {"Uri": f"arn:aws:sns:{REGION}:{ACCOUNT}:doors"}}


@functools.cache
def stream_arn():
    """A stream that is there for all of them."""
    return client().create_stream(StreamName="inputs.stream", DataRetentionInHours=24)["StreamARN"]


@functools.cache
def channel_arn():
    return client().create_signaling_channel(ChannelName="inputs.channel")["ChannelARN"]


def _version(kind):
    if kind == "stream":
        return client().describe_stream(StreamARN=stream_arn())["StreamInfo"]["Version"]
    return client().describe_signaling_channel(ChannelARN=channel_arn())["ChannelInfo"]["Version"]


def _stream(**more):
    return lambda: {"StreamName": "inputs.stream", **{k: v() if callable(v) else v for k, v in more.items()}}


def _channel(**more):
    return lambda: {"ChannelARN": channel_arn(), **{k: v() if callable(v) else v for k, v in more.items()}}


def _versioned():
    return _version("stream")


ROLE = f"arn:aws:iam::{ACCOUNT}:role/no-such-role"

# Operation → function that gives an input.
GOOD = {
    "CreateStream": lambda: {
        "StreamName": f"inputs.{time.time_ns()}", "DeviceName": "device", "MediaType": "video/h264,audio/aac", "KmsKeyId": "alias/key",
        "DataRetentionInHours": 2, "Tags": {"site": "north"}, "StreamStorageConfiguration": {"DefaultStorageTier": "HOT"},
    },
    "DescribeStream": _stream(),
    "ListStreams": lambda: {"MaxResults": 10, "StreamNameCondition": {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "inputs."}},
    "DeleteStream": lambda: {"StreamARN": stream_arn(), "CurrentVersion": "a1"},
    "UpdateStream": _stream(CurrentVersion=_versioned, DeviceName="device", MediaType="video/h264"),
    "UpdateDataRetention": _stream(CurrentVersion=_versioned, Operation="INCREASE_DATA_RETENTION", DataRetentionChangeInHours=1),
    "GetDataEndpoint": _stream(APIName="GET_MEDIA"),
    "TagStream": _stream(Tags={"site": "north"}),
    "UntagStream": _stream(TagKeyList=["site"]),
    "ListTagsForStream": _stream(),
    "TagResource": lambda: {"ResourceARN": stream_arn(), "Tags": [{"Key": "site", "Value": "north"}]},
    "UntagResource": lambda: {"ResourceARN": stream_arn(), "TagKeyList": ["site"]},
    "ListTagsForResource": lambda: {"ResourceARN": stream_arn()},
    "CreateSignalingChannel": lambda: {
        "ChannelName": f"inputs.{time.time_ns()}", "ChannelType": "SINGLE_MASTER", "SingleMasterConfiguration": {"MessageTtlSeconds": 60},
        "Tags": [{"Key": "site", "Value": "north"}],
    },
    "DescribeSignalingChannel": _channel(),
    "ListSignalingChannels": lambda: {"MaxResults": 10, "ChannelNameCondition": {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "inputs."}},
    "UpdateSignalingChannel": _channel(CurrentVersion=lambda: _version("channel"), SingleMasterConfiguration={"MessageTtlSeconds": 60}),
    "DeleteSignalingChannel": _channel(CurrentVersion="a1"),
    "GetSignalingChannelEndpoint": _channel(SingleMasterChannelEndpointConfiguration={"Protocols": ["WSS", "HTTPS"], "Role": "MASTER"}),
    "GetIceServerConfig": _channel(ClientId="viewer-1", Service="TURN", Username="someone"),
    "DescribeMediaStorageConfiguration": _channel(),
    "UpdateMediaStorageConfiguration": _channel(MediaStorageConfiguration=lambda: {"Status": "ENABLED", "StreamARN": stream_arn()}),
    "DescribeMappedResourceConfiguration": _stream(MaxResults=1),
    "DescribeImageGenerationConfiguration": _stream(),
    "UpdateImageGenerationConfiguration": _stream(ImageGenerationConfiguration=IMAGES),
    "DescribeNotificationConfiguration": _stream(),
    "UpdateNotificationConfiguration": _stream(NotificationConfiguration=NOTIFY),
    "DescribeStreamStorageConfiguration": _stream(),
    "UpdateStreamStorageConfiguration": _stream(CurrentVersion=_versioned, StreamStorageConfiguration={"DefaultStorageTier": "HOT"}),
    "StartEdgeConfigurationUpdate": _stream(EdgeConfig=EDGE),
    "DescribeEdgeConfiguration": _stream(),
    "DeleteEdgeConfiguration": _stream(),
    "ListEdgeAgentConfigurations": lambda: {"HubDeviceArn": HUB, "MaxResults": 10},
    "GetMedia": _stream(StartSelector={"StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": "1"}),
    "ListFragments": _stream(MaxResults=10),
    "GetMediaForFragmentList": _stream(Fragments=["91343852333181432392682062620000000000000000000"]),
    "SendAlexaOfferToMaster": _channel(SenderClientId="alexa", MessagePayload="b2ZmZXI="),
    "AssumeRole": lambda: {"RoleArn": ROLE, "RoleSessionName": "session", "DurationSeconds": 900},
    "AssumeRoleWithWebIdentity": lambda: {"RoleArn": ROLE, "RoleSessionName": "session", "WebIdentityToken": "a.b.c", "DurationSeconds": 900},
    "GetSessionToken": lambda: {"DurationSeconds": 900},
    "GetCallerIdentity": dict,
}

# The same for operations that name what they are about, naming something that is not there.
GONE_STREAM = f"arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:stream/no-such-stream/1700000000000"
GONE_CHANNEL = f"arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:channel/no-such-channel/1700000000000"


def absent(operation):
    """Inputs that hold but for naming a stream or channel that is not there: by each way of naming it."""
    good = GOOD[operation]()
    rest = {k: v for k, v in good.items() if k not in ("StreamName", "StreamARN", "ChannelName", "ChannelARN", "ResourceARN")}
    if "ResourceARN" in good:
        return [{**rest, "ResourceARN": GONE_STREAM}, {**rest, "ResourceARN": GONE_CHANNEL}]
    if "ChannelARN" in good:
        return [{**rest, "ChannelARN": GONE_CHANNEL}]
    if "StreamARN" in good:
        return [{**rest, "StreamARN": GONE_STREAM}]
    return [{**rest, "StreamName": "no-such-stream"}, {**rest, "StreamARN": GONE_STREAM}]
