"""A small S3 in a folder, for the tests: another reading of the protocol than the client's.

Checks signatures (version 4), keeps objects as files, and knows PUT (with If-None-Match), GET and HEAD (with ranges), DELETE,
DeleteObjects and ListObjectsV2. Usage: s3.py PORT FOLDER KEYS, where KEYS is a file with "key secret" lines that is read at each request.
"""

import hashlib, hmac, http.server, os, re, sys, tempfile, urllib.parse
from xml.sax.saxutils import escape

PORT, FOLDER, KEYS = int(sys.argv[1]), sys.argv[2], sys.argv[3]


def quoted(text, safe="-_.~"):
    return urllib.parse.quote(text, safe=safe)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", headers.get("length", len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status, code):
        self.answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def is_signed(self, path, query, body):
        said = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d+)/([^/]+)/s3/aws4_request, ?SignedHeaders=([^,]+), ?Signature=(\w+)",
            self.headers.get("Authorization", ""))
        if not said:
            return False
        key, day, region, names, signature = said.groups()
        secret = dict(line.split() for line in open(KEYS)).get(key)
        digest = self.headers.get("x-amz-content-sha256")
        if secret is None or (digest != "UNSIGNED-PAYLOAD" and digest != hashlib.sha256(body).hexdigest()):
            return False
        headers = "".join(f"{n}:{' '.join(self.headers[n].split())}\n" for n in names.split(";"))
        pairs = "&".join(f"{quoted(k)}={quoted(v)}" for k, v in sorted(query))
        canonical = "\n".join([self.command, quoted(path, "/-_.~"), pairs, headers, names, digest])
        to_sign = "\n".join(["AWS4-HMAC-SHA256", self.headers["x-amz-date"], f"{day}/{region}/s3/aws4_request",
                             hashlib.sha256(canonical.encode()).hexdigest()])
        for part in (day, region, "s3", "aws4_request"):
            secret = hmac.digest(b"AWS4" + secret.encode() if part == day else secret, part.encode(), "sha256")
        return hmac.compare_digest(hmac.new(secret, to_sign.encode(), "sha256").hexdigest(), signature)

    def handle_request(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        raw, _, query = self.path.partition("?")
        path, query = urllib.parse.unquote(raw), urllib.parse.parse_qsl(query, keep_blank_values=True)
        if not self.is_signed(path, query, body):
            return self.error(403, "SignatureDoesNotMatch")
        bucket, _, key = path.lstrip("/").partition("/")
        root = os.path.join(FOLDER, bucket)
        if not bucket or ".." in path or not os.path.isdir(root):
            return self.error(404, "NoSuchBucket")
        query = dict(query)
        if self.command == "POST" and "delete" in query:
            keys = re.findall(r"<Key>([^<]*)</Key>", body.decode())
            for name in keys:
                self.remove(os.path.join(root, name))
            found = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in keys)
            return self.answer(200, f"<DeleteResult>{found}</DeleteResult>".encode())
        if not key:
            return self.list(root, query)
        file = os.path.join(root, key)
        if self.command == "PUT":
            return self.put(file, body)
        if self.command == "DELETE":
            self.remove(file)
            return self.answer(204)
        return self.get(file)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_request

    @staticmethod
    def remove(file):
        try:
            os.remove(file)
        except FileNotFoundError:
            pass

    def put(self, file, body):
        os.makedirs(os.path.dirname(file), exist_ok=True)
        part, name = tempfile.mkstemp(dir=FOLDER)
        with os.fdopen(part, "wb") as out:
            out.write(body)
        if self.headers.get("If-None-Match") == "*":
            try:
                os.link(name, file)
            except FileExistsError:
                return self.error(412, "PreconditionFailed")
            finally:
                os.remove(name)
        else:
            os.rename(name, file)
        self.answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def get(self, file):
        try:
            bytes = open(file, "rb").read()
        except FileNotFoundError:
            return self.error(404, "NoSuchKey")
        about = {"ETag": f'"{hashlib.md5(bytes).hexdigest()}"', "Last_Modified": "Mon, 23 Nov 2026 12:00:00 GMT"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            return self.answer(200, bytes, **about)
        first = int(asked[1])
        last = min(int(asked[2] or len(bytes)), len(bytes) - 1)
        if first > last:
            return self.error(416, "InvalidRange")
        self.answer(206, bytes[first:last + 1], Content_Range=f"bytes {first}-{last}/{len(bytes)}", **about)

    def list(self, root, query):
        prefix, after = query.get("prefix", ""), query.get("continuation-token") or query.get("start-after", "")
        keys = sorted(os.path.relpath(os.path.join(at, name), root) for at, _, names in os.walk(root) for name in names)
        keys = [key for key in keys if key.startswith(prefix) and key > after]
        page = keys[:int(query.get("max-keys", 50))]
        more = len(keys) > len(page)
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-23T12:00:00.000Z</LastModified><ETag>x</ETag>"
            f"<Size>{os.path.getsize(os.path.join(root, key))}</Size></Contents>" for key in page)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        self.answer(200, f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{found}</ListBucketResult>".encode())


http.server.ThreadingHTTPServer.daemon_threads = True
http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
