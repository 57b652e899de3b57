#![allow(clippy::unwrap_used)]

use super::*;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

/// What AWS's own guide to Signature Version 4 signs with.
const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const NOW: UnixMillis = UnixMillis(1_440_938_160_000);

/// A request to try.
#[derive(Clone)]
struct Tried {
    method: &'static str,
    path: &'static str,
    query: String,
    headers: Vec<(&'static str, String)>,
    body: &'static [u8],
    port: Option<u16>,
}

impl Tried {
    fn headers(&self) -> HeaderMap {
        let pair = |(name, value): &(&'static str, String)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        self.headers.iter().map(pair).collect()
    }
    fn with<T>(&self, then: impl FnOnce(&Request<'_>) -> T) -> T {
        let headers = self.headers();
        let host = headers.get("host").map_or("", |v| v.to_str().unwrap()).to_owned();
        let (path, query) = (self.path, self.query.as_str());
        then(&Request { method: self.method, path, query, headers: &headers, host: &host, port: self.port })
    }
    fn verified(&self, streams: bool) -> Result<(), Fault> {
        self.with(|request| {
            let signed = Signed::parse(request)?;
            check_time(&signed, NOW)?;
            let key = SigningKey::derive(SECRET, &signed.date, &signed.region, &signed.service);
            let hash = hash(self.body);
            verify(request, &signed, &key, if streams { Body::Unread } else { Body::Hashed(&hash) })
        })
    }
}

/// The request of AWS's guide: `GET https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08`.
fn of_the_guide() -> Tried {
    let authorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
        SignedHeaders=content-type;host;x-amz-date, \
        Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
    Tried {
        method: "GET",
        path: "/",
        query: "Action=ListUsers&Version=2010-05-08".into(),
        headers: vec![
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8".into()),
            ("host", "iam.amazonaws.com".into()),
            ("x-amz-date", "20150830T123600Z".into()),
            ("authorization", authorization.into()),
        ],
        body: b"",
        port: None,
    }
}

#[test]
fn the_example_of_the_guide() {
    let key = SigningKey::derive(SECRET, "20150830", "us-east-1", "iam");
    let request = of_the_guide();
    assert_eq!(request.verified(false), Ok(()));
    let text = request.with(|r| {
        let signed = Signed::parse(r).unwrap();
        assert_eq!((&*signed.access_key_id, &*signed.region, &*signed.service), (ID, "us-east-1", "iam"));
        let query = canonical::query(r.query, true);
        let canonical = canonical::request(r, &signed, r.path, &query, r.host, EMPTY);
        assert_eq!(hash(&canonical), "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59");
        string_to_sign(&signed, &canonical)
    });
    assert_eq!(hex(&key.sign(&text)), "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
}

/// Signs a request as clients do, independent of how it is verified: the text is put together by the test.
fn sign(request: &mut Tried, signed_headers: &str, host: &str, query: &str, payload: &str) {
    let mut canonical = format!("{}\n{}\n{query}\n", request.method, request.path);
    for name in signed_headers.split(';') {
        let value = match name {
            "host" => host,
            name => request.headers.iter().find(|(n, _)| *n == name).map_or("", |(_, v)| v.as_str()),
        };
        canonical += &format!("{name}:{value}\n");
    }
    canonical += &format!("\n{signed_headers}\n{payload}");
    let scope = "20150830/us-west-2/kinesisvideo/aws4_request";
    let text = format!("AWS4-HMAC-SHA256\n20150830T123600Z\n{scope}\n{}", hash(canonical.as_bytes()));
    let key = SigningKey::derive(SECRET, "20150830", "us-west-2", "kinesisvideo");
    let signature = hex(&key.sign(&text));
    let value =
        format!("AWS4-HMAC-SHA256 Credential={ID}/{scope}, SignedHeaders={signed_headers}, Signature={signature}");
    request.headers.push(("authorization", value));
}

fn post(path: &'static str, headers: &[(&'static str, &str)], body: &'static [u8]) -> Tried {
    let mut all = vec![("host", "127.0.0.1:8080".to_owned()), ("x-amz-date", "20150830T123600Z".to_owned())];
    all.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Tried { method: "POST", path, query: String::new(), headers: all, body, port: Some(8080) }
}

#[test]
fn the_variants_of_the_clients() {
    let body = br#"{"StreamName":"gate"}"#;
    let body_hash = hash(body);
    // boto3: the hash of the body and no header for it, host with port, token signed.
    let mut boto =
        post("/describeStream", &[("content-type", "application/json"), ("x-amz-security-token", "T")], body);
    sign(&mut boto, "content-type;host;x-amz-date;x-amz-security-token", "127.0.0.1:8080", "", &body_hash);
    assert_eq!(boto.verified(false), Ok(()));
    assert_eq!(boto.with(|r| Signed::parse(r).unwrap().session_token.map(|t| t.into_owned())).as_deref(), Some("T"));
    // Producer C: host without port, token not signed.
    let mut producer = post("/describeStream", &[("user-agent", "AWS-SDK-KVS"), ("x-amz-security-token", "T")], body);
    sign(&mut producer, "host;user-agent;x-amz-date", "127.0.0.1", "", &body_hash);
    assert_eq!(producer.verified(false), Ok(()));
    // JS v3: the hash in a header.
    let mut js = post("/describeStream", &[("x-amz-content-sha256", &body_hash)], body);
    sign(&mut js, "host;x-amz-content-sha256;x-amz-date", "127.0.0.1:8080", "", &body_hash);
    assert_eq!((js.verified(false), js.verified(true)), (Ok(()), Ok(())), "before and after the body is read");
    // PutMedia of the C SDK: as if there were no body.
    let media = [("x-amzn-stream-name", "gate"), ("transfer-encoding", "chunked"), ("connection", "keep-alive")];
    let mut put = post("/putMedia", &media, b"media");
    sign(&mut put, "connection;host;transfer-encoding;x-amz-date;x-amzn-stream-name", "127.0.0.1", "", EMPTY);
    assert_eq!(put.verified(true), Ok(()));
    assert!(put.verified(false).is_err(), "a body that is read counts");
    // PutMedia of the Java SDK: the header is added afterwards.
    let mut java = post("/putMedia", &[("x-amzn-stream-name", "gate"), ("x-amz-content-sha256", UNSIGNED)], b"media");
    sign(&mut java, "host;x-amz-date;x-amzn-stream-name", "127.0.0.1", "", UNSIGNED);
    assert_eq!((java.verified(true), java.verified(false)), (Ok(()), Ok(())));
    // A proxy took the port off.
    let mut proxied = post("/describeStream", &[], body);
    sign(&mut proxied, "host;x-amz-date", "127.0.0.1:8080", "", &body_hash);
    proxied.headers[0].1 = "127.0.0.1".into();
    assert_eq!(proxied.verified(false), Ok(()));
    // Values with spaces, several of one name, IPv6.
    let mut odd = post("/describeStream", &[("user-agent", "a  b   c "), ("x-amz-meta", "1")], body);
    odd.headers[0].1 = "[::1]:8080".into();
    let mut as_signed = odd.clone();
    as_signed.headers[2].1 = "a b c".into();
    as_signed.headers[3].1 = "1,2".into();
    sign(&mut as_signed, "host;user-agent;x-amz-date;x-amz-meta", "[::1]", "", &body_hash);
    odd.headers.push(("x-amz-meta", "2".into()));
    odd.headers.push(as_signed.headers.pop().unwrap());
    assert_eq!(odd.verified(false), Ok(()));
}

#[test]
fn presigned_queries_in_both_encodings() {
    let fixed = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-ChannelARN={arn}&X-Amz-ClientId={id}\
        &X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-west-2%2Fkinesisvideo%2Faws4_request&X-Amz-Date=20150830T123600Z\
        &X-Amz-Expires=299&X-Amz-Security-Token=a%2Bb%2F%3D&X-Amz-SignedHeaders=host";
    let arn = "arn%3Aaws%3Akinesisvideo%3Aus-west-2%3A123456789012%3Achannel%2Fdoor%2F1";
    // As encodeURIComponent has it, which leaves !'()* alone; the signature is over the one or the other.
    let sent = fixed.replace("{arn}", arn).replace("{id}", "a(b)*");
    for signed_as in [sent.clone(), fixed.replace("{arn}", arn).replace("{id}", "a%28b%29%2A")] {
        let mut request = Tried {
            method: "GET",
            path: "/",
            query: String::new(),
            headers: vec![("host", "127.0.0.1:8080".into())],
            body: b"",
            port: None,
        };
        sign(&mut request, "host", "127.0.0.1:8080", &signed_as, EMPTY);
        let signature = request.headers.pop().unwrap().1.rsplit_once("Signature=").unwrap().1.to_owned();
        // Sent in another order.
        let (first, rest) = sent.split_once('&').unwrap();
        request.query = format!("{rest}&X-Amz-Signature={signature}&{first}");
        assert_eq!(request.verified(false), Ok(()), "{signed_as}");
        let token = request.with(|r| Signed::parse(r).unwrap().session_token.map(|t| t.into_owned()));
        assert_eq!(token.as_deref(), Some("a+b/="));
        request.query = request.query.replace("X-Amz-Expires=299", "X-Amz-Expires=300");
        assert!(matches!(request.verified(false), Err(Fault::Mismatch { .. })), "its end is part of it");
    }
}

/// What botocore 1.44.5 signed with these credentials at this time, with and without a session token.
#[test]
fn what_botocore_signs() {
    let recorded: Vec<serde_json::Value> = serde_json::from_str(include_str!("testdata/botocore-1.44.5.json")).unwrap();
    assert_eq!(recorded.len(), 8);
    for one in recorded {
        let text = |name: &str| one[name].as_str().unwrap();
        let (method, path, query) = (text("method"), text("path"), text("query"));
        let mut headers = HeaderMap::new();
        for (name, value) in one["headers"].as_object().unwrap() {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.insert(name, HeaderValue::from_str(value.as_str().unwrap()).unwrap());
        }
        let host = headers["host"].to_str().unwrap().to_owned();
        let request = Request { method, path, query, headers: &headers, host: &host, port: Some(8080) };
        let signed = Signed::parse(&request).unwrap();
        assert_eq!(check_time(&signed, NOW), Ok(()));
        let key = SigningKey::derive(SECRET, &signed.date, &signed.region, &signed.service);
        let hash = hash(text("body").as_bytes());
        assert_eq!(verify(&request, &signed, &key, Body::Hashed(&hash)), Ok(()), "{one}");
        let other = SigningKey::derive("another secret", &signed.date, &signed.region, &signed.service);
        assert!(verify(&request, &signed, &other, Body::Hashed(&hash)).is_err());
    }
}

#[test]
fn every_change_of_what_is_signed_is_noticed() {
    let whole = of_the_guide();
    type Change = Box<dyn Fn(&mut Tried)>;
    let mut changes: Vec<Change> = vec![
        Box::new(|r| r.method = "POST"),
        Box::new(|r| r.path = "/x"),
        Box::new(|r| r.query = r.query.replace("ListUsers", "ListRoles")),
        Box::new(|r| r.query += "&More=1"),
        Box::new(|r| r.headers[0].1 = "text/plain".into()),
        Box::new(|r| r.headers[1].1 = "sts.amazonaws.com".into()),
        Box::new(|r| r.headers[2].1 = "20150830T123601Z".into()),
        Box::new(|r| r.body = b"x"),
        Box::new(|r| r.headers[3].1 = r.headers[3].1.replace("us-east-1", "us-east-2")),
        Box::new(|r| r.headers[3].1 = r.headers[3].1.replace("/iam/", "/sts/")),
        Box::new(|r| r.headers[3].1 = r.headers[3].1.replace("content-type;host", "host")),
    ];
    for digit in 0..64 {
        changes.push(Box::new(move |r| {
            let at = r.headers[3].1.len() - 64 + digit;
            let flipped = if r.headers[3].1.as_bytes()[at] == b'0' { "1" } else { "0" };
            r.headers[3].1.replace_range(at..=at, flipped);
        }));
    }
    for (n, change) in changes.iter().enumerate() {
        let mut request = whole.clone();
        change(&mut request);
        assert!(matches!(request.verified(false), Err(Fault::Mismatch { .. })), "change {n}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let fault = |change: &dyn Fn(&mut Tried)| {
        let mut request = of_the_guide();
        change(&mut request);
        request.verified(false).unwrap_err()
    };
    let text = |fault: Fault| match fault {
        Fault::Incomplete(text) | Fault::Clock(text) | Fault::Scope(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(&|r| r.headers.truncate(3)), Fault::Missing);
    for (from, to, expected) in [
        ("Credential=", "Credentials=", "none of Credential"),
        ("Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, ", "", "requires 'Credential'"),
        (", Signature=", ", Signature=00", "64 hexadecimal"),
        ("/20150830/", "/2015083/", "must have the form"),
        ("AKIDEXAMPLE/", "/", "must have the form"),
        ("/20150830/", "/20150829/", "'20150829' != '20150830'"),
        ("aws4_request", "aws3_request", "'aws4_request'"),
        (";host", ";content-type", "each header once"),
        (";host;", ";", "'Host' must be"),
    ] {
        let said = text(fault(&|r| r.headers[3].1 = r.headers[3].1.replace(from, to)));
        assert!(said.contains(expected), "{said}");
    }
    assert!(text(fault(&|r| r.headers[2].1 = "yesterday".into())).contains("ISO-8601"));
    assert!(text(fault(&|r| drop(r.headers.remove(2)))).contains("'X-Amz-Date' or a 'Date'"));
    let Fault::Mismatch { canonical, string_to_sign } = fault(&|r| r.method = "PUT") else { panic!("a mismatch") };
    assert!(canonical.starts_with("PUT\n/\nAction=ListUsers&Version=2010-05-08\ncontent-type:"));
    assert!(string_to_sign.starts_with("AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n"));
}

#[test]
fn clocks_may_differ_by_five_minutes() {
    of_the_guide().with(|r| {
        let signed = Signed::parse(r).unwrap();
        for late in [-300_000, 0, 300_000] {
            assert_eq!(check_time(&signed, NOW.plus(late)), Ok(()), "{late}");
        }
        let expired = "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)";
        assert_eq!(check_time(&signed, NOW.plus(301_000)), Err(Fault::Clock(expired.into())));
        let early = "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)";
        assert_eq!(check_time(&signed, NOW.plus(-301_000)), Err(Fault::Clock(early.into())));
        // A presigned URL lasts as long as it says, to the millisecond.
        let presigned = Signed { expires_s: Some(604_800), ..signed.clone() };
        assert_eq!(check_time(&presigned, NOW.plus(604_800_000)), Ok(()));
        assert!(check_time(&presigned, NOW.plus(604_800_001)).is_err());
        let short = Signed { expires_s: Some(1), ..signed };
        assert!(matches!(check_time(&short, NOW.plus(1001)), Err(Fault::Clock(text)) if text.starts_with("Signature expired")));
    });
}

#[test]
fn long_lists_of_headers_cost_nothing() {
    let mut request = of_the_guide();
    let names = vec!["host"; 10_000].join(";");
    request.headers[3].1 = request.headers[3].1.replace("content-type;host;x-amz-date", &names);
    assert!(matches!(request.verified(false), Err(Fault::Incomplete(_))));
}

proptest! {
    #[test]
    fn whatever_comes(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz(&data);
    }

    /// Heads that are nearly signed requests.
    #[test]
    fn whatever_comes_in_shape(path in "/[a-zA-Z%/.é?&=+-]{0,24}", host in "[a-z0-9:\\[\\].]{0,20}", headers in "(host|x-amz-date|a|;){1,6}", value in "[ a-zé,]{0,12}", in_query in any::<bool>()) {
        let scope = "AKID/20150830/us-east-1/kinesisvideo/aws4_request";
        let signature = "0".repeat(64);
        let head = match in_query {
            true => format!("{path}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={scope}&X-Amz-Date=20150830T123600Z&X-Amz-Expires=9&X-Amz-SignedHeaders=host&X-Amz-Signature={signature}&v={value}\nhost:{host}"),
            false => format!("{path}\nhost:{host}\na:{value}\nx-amz-date:20150830T123600Z\nauthorization:AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={headers}, Signature={signature}"),
        };
        fuzz(head.as_bytes());
    }

    #[test]
    fn decoding_and_encoding_agree(text in ".{0,40}") {
        let encoded = canonical::path(&text);
        prop_assert_eq!(canonical::decoded(&encoded), text.as_bytes());
    }
}
