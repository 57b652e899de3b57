"""Limits of the cloud, for a server that is told to have them (`[aws.quotas]`); all others have none."""

import cases
from botocore import xform_name
from botocore.exceptions import ClientError
from cases import shows
from clients import Case, client
from inputs import GOOD
from models import documented, service_of
from server import Server

LIMITED = [n for n in GOOD if "ClientLimitExceededException" in documented(n)]
cases.claims("test_quotas.py: test_calls_a_second", LIMITED, "ClientLimitExceededException")


class Quotas(Case):
    def limited(self, **quotas):
        own = Server(env={f"VIDICON_AWS__QUOTAS__{k.upper()}": str(v) for k, v in quotas.items()})
        self.addCleanup(own.stop)
        return own

    @shows("CreateStream", error="AccountStreamLimitExceededException", needs=["DeleteStream"])
    def test_streams_in_all(self):
        kvs = client(at=self.limited(streams=2))
        arns = [kvs.create_stream(StreamName=f"s{i}")["StreamARN"] for i in range(2)]
        self.refused("AccountStreamLimitExceededException", kvs.create_stream, StreamName="s2")
        kvs.delete_stream(StreamARN=arns[0])
        kvs.create_stream(StreamName="s2")

    @shows("CreateStream", error="DeviceStreamLimitExceededException")
    def test_streams_of_a_device(self):
        kvs = client(at=self.limited(streams_per_device=1))
        kvs.create_stream(StreamName="s0", DeviceName="door")
        self.refused("DeviceStreamLimitExceededException", kvs.create_stream, StreamName="s1", DeviceName="door")
        kvs.create_stream(StreamName="s1", DeviceName="window")

    @shows("CreateSignalingChannel", error="AccountChannelLimitExceededException")
    def test_channels_in_all(self):
        kvs = client(at=self.limited(channels=1))
        kvs.create_signaling_channel(ChannelName="c0")
        self.refused("AccountChannelLimitExceededException", kvs.create_signaling_channel, ChannelName="c1")

    def test_calls_a_second(self):
        """Each operation for itself; whatever the call says."""
        if reason := cases.not_served(["CreateStream"]):
            self.skipTest(reason)
        own = self.limited(calls_per_s=1)
        for operation in LIMITED:
            if operation not in cases.SERVED:
                continue
            with self.subTest(operation):
                call = getattr(client(service_of(operation), at=own, parameter_validation=False, retries={"total_max_attempts": 1}), xform_name(operation))
                told = []
                while len(told) < 20 and told[-1:] != ["ClientLimitExceededException"]:
                    try:
                        call()
                        told.append(None)
                    except ClientError as e:
                        told.append(e.response["Error"]["Code"])
                self.assertNotEqual(told[0], "ClientLimitExceededException")
                self.assertEqual(told[-1], "ClientLimitExceededException")
