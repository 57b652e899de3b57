"""A server that speaks TLS and nothing else, and a device that has a certificate and no key: openssl makes the certificates, curl asks for credentials as the producer
SDK does, boto3 and a producer use them."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import mkv
import watching
from clients import Case, client
from putmedia import PutMedia
from server import BINARY, KEY, SECRET, Server

POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": [f"kinesisvideo:{a}" for a in ("CreateStream", "DescribeStream", "GetDataEndpoint", "PutMedia", "GetMedia")],
            "Resource": "arn:aws:kinesisvideo:*:*:stream/${credentials-iot:ThingName}/*",
        }
    ],
}
TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "credentials.iot.amazonaws.com"}, "Action": "sts:AssumeRole"}]}


class Files:
    """What openssl makes, in a folder of its own."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="vidicon-tls-"))

    def openssl(self, *args):
        done = subprocess.run(["openssl", *args], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def authority(self, name):
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")

    def signed(self, name, by, more="basicConstraints=CA:FALSE", kind=("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), out=None):
        out = out or name
        (self.folder / "more").write_text(more)
        self.openssl("req", "-newkey", *kind, "-nodes", "-subj", f"/CN={name}", "-keyout", f"{out}.key", "-out", f"{out}.csr")
        self.openssl("x509", "-req", "-in", f"{out}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial", "-days", "2", "-extfile", "more", "-out", f"{out}.pem")

    def authorities(self, *names):
        """The file of those that may vouch for devices."""
        text = "".join((self.folder / f"{name}.pem").read_text() for name in names)
        (self.folder / "authorities.new").write_text(text)
        (self.folder / "authorities.new").rename(self.folder / "authorities.pem")

    def __getitem__(self, name):
        return str(self.folder / name)


@unittest.skipUnless(shutil.which("openssl") and shutil.which("curl"), "openssl or curl is not here")
class Tls(Case):
    @classmethod
    def setUpClass(cls):
        cls.files = files = Files()
        cls.addClassCleanup(shutil.rmtree, files.folder)
        files.authority("roots")
        files.signed("localhost", "roots", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        files.authority("devices")
        files.authority("others")
        files.signed("gate", "devices")
        files.signed("gate", "others", out="foreign")
        # RSA, and registered by its fingerprint.
        files.signed("yard", "others", kind=("rsa:2048",))
        files.authority("leaving")
        files.signed("shed", "leaving")
        files.authorities("devices", "leaving")
        cls.server = Server(env={"VIDICON_TLS__CERTIFICATE": files["localhost.pem"], "VIDICON_TLS__KEY": files["localhost.key"], "VIDICON_TLS__DEVICE_CA": files["authorities.pem"]})
        cls.addClassCleanup(cls.server.stop)
        cls.server.ca = files["roots.pem"]
        for name, document in (("policy.json", POLICY), ("trust.json", TRUST)):
            Path(files[name]).write_text(json.dumps(document))
        cls.vidicon("role", "create", "cameras", "--trust", files["trust.json"], "--policy-file", files["policy.json"])
        cls.vidicon("role-alias", "create", "cams", "--role", "cameras", "--duration", "15m", "--device-ca")

    @classmethod
    def vidicon(cls, *args):
        """The command line, asked of the running server."""
        env = {**os.environ, "VIDICON_ROOT_ACCESS_KEY_ID": KEY, "VIDICON_ROOT_SECRET_ACCESS_KEY": SECRET}
        done = subprocess.run([BINARY, *args, "--url", cls.server.url, "--ca", cls.server.ca], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{args}: {done.stderr}"
        return done.stdout

    def asked(self, certificate, thing, alias="cams", *more):
        """(status, answer) as the producer SDK asks, which is libcurl too."""
        own = ["--cert", self.files[f"{certificate}.pem"], "--key", self.files[f"{certificate}.key"]] if certificate else []
        url = f"{self.server.url}/role-aliases/{alias}/credentials"
        head = ["--silent", "--cacert", self.server.ca, "--header", f"x-amzn-iot-thingname: {thing}", "--write-out", "\n%{http_code} %{http_version}"]
        done = subprocess.run(["curl", *head, *own, *more, url], capture_output=True, text=True, timeout=20, check=False)
        body, _, status = done.stdout.rpartition("\n")
        self.assertEqual(status.split()[1], "1.1", done)
        return int(status.split()[0]), json.loads(body)

    def given(self, certificate, thing):
        status, told = self.asked(certificate, thing)
        self.assertEqual(status, 200, told)
        found = told["credentials"]
        self.assertEqual(list(found), ["accessKeyId", "secretAccessKey", "sessionToken", "expiration"])
        self.assertRegex(found["expiration"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertLessEqual(len(found["sessionToken"]), 2048)
        return {"AccessKeyId": found["accessKeyId"], "SecretAccessKey": found["secretAccessKey"], "SessionToken": found["sessionToken"]}

    def of(self, service, credentials):
        who = {"key": credentials["AccessKeyId"], "secret": credentials["SecretAccessKey"], "token": credentials["SessionToken"]}
        return client(service, at=self.server, **who)

    def test_a_device_with_nothing_but_a_certificate_pushes_and_is_watched(self):
        credentials = self.given("gate", "gate")
        kvs = self.of("kinesisvideo", credentials)
        kvs.create_stream(StreamName="gate", DataRetentionInHours=1)
        self.refused("AccessDeniedException", kvs.create_stream, StreamName="yard")
        endpoint = kvs.get_data_endpoint(StreamName="gate", APIName="PUT_MEDIA")["DataEndpoint"]
        self.assertEqual(endpoint, self.server.url)
        session = PutMedia("gate", at=self.server, credentials=credentials, endpoint=endpoint, expect=True)
        self.assertTrue(session.continued)
        t0 = 1_700_000_000_000
        session.send(mkv.header() + b"".join(mkv.cluster(t0 + 1000 * i) for i in range(4)))
        acks = session.end()
        events = [a["EventType"] for a in acks]
        self.assertEqual([events.count(e) for e in ("BUFFERING", "RECEIVED", "PERSISTED")], [4, 4, 4], acks)
        media = self.of("kinesis-video-media", credentials)
        found = watching.read(media.get_media(StreamName="gate", StartSelector={"StartSelectorType": "EARLIEST"})["Payload"], 4)
        self.assertEqual(len(found), 4)
        arn = self.of("sts", credentials).get_caller_identity()["Arn"]
        self.assertRegex(arn, ":assumed-role/cameras/[0-9a-f]{64}$")

    def test_each_acknowledgement_is_one_record_of_tls(self):
        self.of_root("kinesisvideo").create_stream(StreamName=self.called(), DataRetentionInHours=1)
        session = PutMedia(self.called(), at=self.server)
        for i in range(3):
            session.send(mkv.header() if i == 0 else b"", 1 << 20)
            session.send(mkv.cluster(1_700_000_000_000 + 1000 * i), 1 << 20)
        session.socket.sendall(b"0\r\n\r\n")
        # One SSL_read gives what is left of one record, and no more: what the producer's HTTP library is handed at a time.
        reads = []
        while not reads or reads[-1] != b"0\r\n\r\n":
            reads.append(session.socket.recv(1 << 16))
            self.assertTrue(reads[-1], reads)
        session.close()
        acks = reads[:-1]
        self.assertGreaterEqual(len(acks), 9)
        for read in acks:
            size, _, rest = read.partition(b"\r\n")
            self.assertEqual(len(rest), int(size, 16) + 2, read)
            json.loads(rest)

    def of_root(self, service):
        return client(service, at=self.server)

    def test_who_gets_nothing(self):
        for certificate, thing, alias in (("gate", "yard", "cams"), ("gate", "gate", "none"), ("foreign", "gate", "cams"), ("yard", "yard", "other")):
            with self.subTest((certificate, thing, alias)):
                self.assertEqual(self.asked(certificate, thing, alias), (403, {"message": "Access Denied"}))
        status, told = self.asked(None, "gate")
        self.assertEqual((status, told["message"].split(":")[0]), (403, "Access Denied"))

    def test_a_registered_certificate_until_it_is_revoked(self):
        self.vidicon("certificate", "register", self.files["yard.pem"], "--role-alias", "cams")
        for version in ("--tlsv1.3", "--tls-max"):
            self.assertEqual(self.asked("yard", "yard", "cams", *([version] if version == "--tlsv1.3" else [version, "1.2"]))[0], 200)
        credentials = self.given("yard", "yard")
        kvs = self.of("kinesisvideo", credentials)
        kvs.create_stream(StreamName="yard", DataRetentionInHours=1)
        self.assertIn("yard", self.vidicon("certificate", "list"))
        session = PutMedia("yard", at=self.server, credentials=credentials)
        session.send(mkv.header() + mkv.cluster(1_700_000_000_000))
        session.wait("PERSISTED")
        self.vidicon("certificate", "revoke", self.files["yard.pem"])
        self.refused("ExpiredTokenException", kvs.describe_stream, StreamName="yard")
        self.assertEqual(self.asked("yard", "yard"), (403, {"message": "Access Denied"}))
        # What it is pushing ends too, with the next look at its rights.
        session.socket.settimeout(15)
        while session.ack() is not None:
            pass
        session.close()
        self.vidicon("certificate", "enable", self.files["yard.pem"])
        self.given("yard", "yard")

    def test_an_authority_that_is_taken_back(self):
        """Devices of it get nothing from then on. What they were given holds to its end, as the service has it, unless it is ended."""
        credentials = self.given("shed", "shed")
        kvs = self.of("kinesisvideo", credentials)
        kvs.create_stream(StreamName="shed", DataRetentionInHours=1)
        self.files.authorities("devices")
        until = time.monotonic() + 20
        while self.asked("shed", "shed")[0] == 200:
            self.assertLess(time.monotonic(), until, self.server.log[-5:])
            time.sleep(0.2)
        self.assertEqual(self.asked("shed", "shed"), (403, {"message": "Access Denied"}))
        self.given("gate", "gate")
        kvs.describe_stream(StreamName="shed")
        self.vidicon("certificate", "register", self.files["shed.pem"], "--revoked")
        self.refused("ExpiredTokenException", kvs.describe_stream, StreamName="shed")

    def test_a_certificate_that_signs_itself(self):
        self.files.openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2", "-subj", "/CN=self", "-keyout", "self.key", "-out", "self.pem")
        self.vidicon("certificate", "register", self.files["self.pem"], "--thing", "hall", "--role-alias", "*")
        self.given("self", "hall")
        self.assertEqual(self.asked("self", "self")[0], 403)

    def test_openssl_shakes_hands_in_both_versions(self):
        for version in ("-tls1_2", "-tls1_3"):
            host = self.server.url.removeprefix("https://")
            given = ["-connect", host, version, "-CAfile", self.server.ca, "-verify_return_error", "-alpn", "h2,http/1.1", "-servername", "localhost"]
            done = subprocess.run(["openssl", "s_client", *given], input="", capture_output=True, text=True, timeout=20, check=False)
            self.assertIn("Verify return code: 0", done.stdout + done.stderr)
            self.assertIn("ALPN protocol: http/1.1", done.stdout)
        # Older ones are not spoken, and who does not trust the authority notices.
        context = ssl.create_default_context()
        with self.assertRaises(ssl.SSLError), socket.create_connection(("127.0.0.1", int(host.rsplit(":")[-1]))) as plain:
            context.wrap_socket(plain, server_hostname="localhost")

    def test_a_renewed_certificate_is_shown_without_a_restart(self):
        def serial():
            context = ssl.create_default_context(cafile=self.server.ca)
            with socket.create_connection(("127.0.0.1", int(self.server.url.rsplit(":")[-1]))) as plain, context.wrap_socket(plain, server_hostname="localhost") as tls:
                return tls.getpeercert()["serialNumber"]

        before = serial()
        self.files.signed("localhost", "roots", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        until = time.monotonic() + 20
        while serial() == before:
            self.assertLess(time.monotonic(), until, self.server.log[-5:])
            time.sleep(0.2)
        self.of_root("kinesisvideo").list_streams()
