"""Streams, as boto3 makes, finds, changes and deletes them."""

import datetime
import re
import time

import admin
from cases import shows
from clients import Case, client
from server import ACCOUNT, REGION, server

ARN = rf"arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:stream/(.+)/(\d+)"
CRUD = ("CreateStream", "DescribeStream")


class Streams(Case):
    def setUp(self):
        self.kvs = client()

    def made(self, name=None, **more):
        return self.kvs.create_stream(StreamName=name or self.called(), **more)["StreamARN"]

    def info(self, **named):
        return self.kvs.describe_stream(**named)["StreamInfo"]

    @shows(*CRUD)
    def test_a_stream_is_made_and_described(self):
        before = time.time()
        arn = self.made(DataRetentionInHours=5, MediaType="video/h264,audio/aac", DeviceName="door", Tags={"site": "north"})
        name, created = re.fullmatch(ARN, arn).groups()
        self.assertEqual(name, self.called())
        by_name, by_arn = self.info(StreamName=name), self.info(StreamARN=arn)
        self.assertEqual(by_name, by_arn)
        self.assertEqual(by_name["StreamARN"], arn)
        self.assertEqual((by_name["StreamName"], by_name["Status"], by_name["DataRetentionInHours"]), (name, "ACTIVE", 5))
        self.assertEqual((by_name["MediaType"], by_name["DeviceName"]), ("video/h264,audio/aac", "door"))
        self.assertRegex(by_name["Version"], r"^[a-zA-Z0-9]{20}$")
        self.assertRegex(by_name["KmsKeyId"], r"^arn:aws:kms:.*:alias/aws/kinesisvideo$")
        at = by_name["CreationTime"]
        self.assertIsInstance(at, datetime.datetime)
        self.assertEqual(round(at.timestamp() * 1000), int(created), "the ARN ends with the time of creation in ms")
        self.assertLess(abs(at.timestamp() - before), 5)

    @shows(*CRUD)
    def test_what_is_not_said_at_creation(self):
        self.made()
        info = self.info(StreamName=self.called())
        self.assertEqual(info["DataRetentionInHours"], 0)
        self.assertNotIn("DeviceName", {k for k, v in info.items() if v})

    @shows("CreateStream", needs=["GetDataEndpoint"])
    def test_a_stream_can_be_used_at_once(self):
        """The C SDK goes from CreateStream to GetDataEndpoint without a look."""
        for i in range(5):
            self.made(self.called(f".{i}"))
            self.kvs.get_data_endpoint(StreamName=self.called(f".{i}"), APIName="PUT_MEDIA")

    @shows(*CRUD)
    def test_arns_are_taken_as_people_have_them(self):
        arn = self.made()
        self.assertEqual(self.info(StreamARN=arn.replace("arn:aws:", "arn:aws-cn:"))["StreamARN"], arn, "any partition")
        without = client(parameter_validation=False).describe_stream(StreamARN=arn.rsplit("/", 1)[0])
        self.assertEqual(without["StreamInfo"]["StreamARN"], arn, "without the time of creation, as in Rekognition's documents")
        gone = arn[:-1] + str((int(arn[-1]) + 1) % 10)
        self.refused("ResourceNotFoundException", self.kvs.describe_stream, StreamARN=gone)
        either = ("ResourceNotFoundException", "InvalidArgumentException")
        self.refused(either, self.kvs.describe_stream, StreamARN=arn.replace(":stream/", ":channel/"))

    @shows("CreateStream", error="ResourceInUseException")
    def test_a_name_is_taken_once(self):
        self.made()
        self.refused("ResourceInUseException", self.made, says=re.escape(self.called()))
        self.made(self.called(".2"))

    @shows("CreateStream", error="TagsPerResourceExceededLimitException")
    def test_too_many_tags_at_creation(self):
        self.made(Tags={f"k{i}": "v" for i in range(50)})
        strict = client(parameter_validation=False)
        self.refused(
            ("TagsPerResourceExceededLimitException", "InvalidArgumentException"),
            strict.create_stream, StreamName=self.called(".2"), Tags={f"k{i}": "v" for i in range(51)},
        )
        self.refused("ResourceNotFoundException", self.kvs.describe_stream, StreamName=self.called(".2"))

    @shows("CreateStream")
    def test_retention_and_names_at_their_limits(self):
        long = ("a" * 256)[: 256 - len("Streams")] + "Streams"
        self.assertEqual(self.info(StreamARN=self.made(long, DataRetentionInHours=87600))["DataRetentionInHours"], 87600)
        self.refused("InvalidArgumentException", self.made, DataRetentionInHours=87601, says="DataRetentionInHours")
        for name in ("a", "A-_.9", ".", "..", "-"):
            arn = self.made(f"{name}" if len(name) > 2 else f"{name}{self.called()}"[:256])
            self.assertEqual(self.info(StreamARN=arn)["StreamARN"], arn)

    @shows("ListStreams", needs=["CreateStream"])
    def test_streams_are_listed_by_page(self):
        names = sorted(self.called(f".{i}") for i in range(7))
        arns = {self.made(n) for n in names}
        condition = {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": self.called(".")}
        pages = list(self.kvs.get_paginator("list_streams").paginate(StreamNameCondition=condition, PaginationConfig={"PageSize": 3}))
        self.assertEqual([len(p["StreamInfoList"]) for p in pages], [3, 3, 1])
        found = [s for p in pages for s in p["StreamInfoList"]]
        self.assertEqual({s["StreamARN"] for s in found}, arns)
        self.assertEqual(found[0], self.info(StreamARN=found[0]["StreamARN"]), "the same that DescribeStream says")
        everything = [s["StreamName"] for p in self.kvs.get_paginator("list_streams").paginate() for s in p["StreamInfoList"]]
        self.assertLessEqual(set(names), set(everything))
        self.assertEqual(len(everything), len(set(everything)))
        self.assertEqual(self.kvs.list_streams(StreamNameCondition={**condition, "ComparisonValue": "none-begins-so"})["StreamInfoList"], [])

    @shows("ListStreams")
    def test_a_token_of_another_list(self):
        self.refused("InvalidArgumentException", self.kvs.list_streams, NextToken="AAAA", says="NextToken")

    @shows("UpdateStream", needs=CRUD)
    def test_a_stream_is_changed(self):
        self.made(MediaType="video/h264", DeviceName="old")
        before = self.info(StreamName=self.called())
        self.kvs.update_stream(StreamName=self.called(), CurrentVersion=before["Version"], MediaType="video/h265")
        after = self.info(StreamName=self.called())
        self.assertEqual((after["MediaType"], after["DeviceName"]), ("video/h265", "old"), "what is not named stays")
        self.assertNotEqual(after["Version"], before["Version"])
        self.assertRegex(after["Version"], r"^[a-zA-Z0-9]{20}$")
        self.kvs.update_stream(StreamARN=after["StreamARN"], CurrentVersion=after["Version"], DeviceName="new")
        self.assertEqual(self.info(StreamName=self.called())["DeviceName"], "new")

    @shows("UpdateStream", error="VersionMismatchException", needs=CRUD)
    def test_a_change_of_another_version(self):
        self.made()
        version = self.info(StreamName=self.called())["Version"]
        self.kvs.update_stream(StreamName=self.called(), CurrentVersion=version, DeviceName="first")
        self.refused("VersionMismatchException", self.kvs.update_stream, StreamName=self.called(), CurrentVersion=version, DeviceName="second")
        self.assertEqual(self.info(StreamName=self.called())["DeviceName"], "first")

    @shows("DeleteStream", needs=CRUD)
    def test_a_stream_is_deleted_and_its_name_is_free(self):
        old = self.made()
        self.kvs.delete_stream(StreamARN=old)
        self.refused("ResourceNotFoundException", self.kvs.describe_stream, StreamName=self.called())
        self.refused("ResourceNotFoundException", self.kvs.delete_stream, StreamARN=old)
        time.sleep(0.01)
        new = self.made()
        self.assertNotEqual(new, old)
        self.refused("ResourceNotFoundException", self.kvs.describe_stream, StreamARN=old)
        self.kvs.delete_stream(StreamARN=new, CurrentVersion=self.info(StreamARN=new)["Version"])

    @shows("DeleteStream", error="VersionMismatchException", needs=CRUD)
    def test_deleting_another_version(self):
        arn = self.made()
        self.refused("VersionMismatchException", self.kvs.delete_stream, StreamARN=arn, CurrentVersion="a" * 20)
        self.info(StreamARN=arn)

    @shows("DeleteStream", error="ResourceInUseException", needs=CRUD)
    def test_deleting_what_a_camera_records_to(self):
        status, camera = admin.call("POST", "/v1/cameras", {"name": self.called(), "url": "rtsp://127.0.0.1:9/none"})
        self.assertEqual(status, 201, camera)
        arn = self.info(StreamName=self.called())["StreamARN"]
        self.refused("ResourceInUseException", self.kvs.delete_stream, StreamARN=arn)
        self.assertEqual(admin.call("DELETE", f"/v1/cameras/{self.called()}")[0], 204)
        self.kvs.delete_stream(StreamARN=arn)

    @shows("UpdateDataRetention", needs=CRUD)
    def test_retention_grows_and_shrinks(self):
        self.made(DataRetentionInHours=2)

        def change(operation, hours):
            version = self.info(StreamName=self.called())["Version"]
            self.kvs.update_data_retention(StreamName=self.called(), CurrentVersion=version, Operation=operation, DataRetentionChangeInHours=hours)
            info = self.info(StreamName=self.called())
            self.assertNotEqual(info["Version"], version)
            return info["DataRetentionInHours"]

        self.assertEqual(change("INCREASE_DATA_RETENTION", 5), 7)
        self.assertEqual(change("DECREASE_DATA_RETENTION", 3), 4)
        self.assertEqual(change("INCREASE_DATA_RETENTION", 87596), 87600)
        self.assertEqual(change("DECREASE_DATA_RETENTION", 87600), 0)
        for operation, hours in (("DECREASE_DATA_RETENTION", 1), ("INCREASE_DATA_RETENTION", 87601)):
            with self.subTest(operation):
                self.refused("InvalidArgumentException", change, operation, hours)
        self.assertEqual(self.info(StreamName=self.called())["DataRetentionInHours"], 0)

    @shows("UpdateDataRetention", error="VersionMismatchException", needs=["CreateStream"])
    def test_retention_of_another_version(self):
        self.made()
        self.refused(
            "VersionMismatchException", self.kvs.update_data_retention,
            StreamName=self.called(), CurrentVersion="a" * 20, Operation="INCREASE_DATA_RETENTION", DataRetentionChangeInHours=1,
        )

    @shows("GetDataEndpoint", needs=["CreateStream"])
    def test_every_api_is_served_at_this_endpoint(self):
        arn = self.made()
        for api in self.kvs.meta.service_model.shape_for("APIName").enum:
            self.assertEqual(self.kvs.get_data_endpoint(StreamName=self.called(), APIName=api)["DataEndpoint"], server().url)
        self.assertEqual(self.kvs.get_data_endpoint(StreamARN=arn, APIName="GET_MEDIA")["DataEndpoint"], server().url)
