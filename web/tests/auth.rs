//! Who gets in, and to what: every route of the table with no, foreign, own and root credentials; sign-in; cross-site requests;
//! guessing.
#![allow(clippy::unwrap_used)]

mod common;

use common::{KEY, SECRET, Server, basic, record, take};
use serde_json::{Value, json};

/// A path of the table with things that exist (or names that could) in its parameters.
fn filled(path: &str, stream: &str, token: &str) -> String {
    path.replace("{name}", stream)
        .replace("{token}", token)
        .replace("{file}", "index.m3u8")
        .replace("{number}", &"9".repeat(47))
        .replace("{id}", "1")
        .replace("{alias}", "cams")
        .replace("{policy}", "camera")
}

/// Its operations whose paths look like ours.
const OF_THE_CLOUD: [&str; 2] = ["/v1/get-ice-server-config", "/v1/send-alexa-offer-to-master"];

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_no_credentials_and_foreign_playback_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    for name in ["mine", "theirs"] {
        let stream = server.stream(name).await;
        record(&stream, &take(3, 1000)).await;
    }
    let path = server.playback("theirs", json!({})).await;
    let token = path.strip_prefix("/p/").unwrap();
    let bearer = format!("Bearer {token}");
    for (method, route) in web::routes() {
        let open = ["/healthz", "/readyz", "/ca.pem"].contains(&route) || (method, route) == ("POST", "/v1/session");
        let path = filled(route, "mine", "AAAA");
        let body = || (method == "POST" || method == "PATCH").then(|| json!({}));

        let answer = server.send(method, &path, &[], body()).await;
        match (open, route) {
            (true, "/v1/session") => assert_eq!(answer.status, 400, "an empty sign-in"),
            (true, "/ca.pem") => assert_eq!(answer.status, 404, "this server has no authority of its own"),
            (true, _) => assert_eq!(answer.status, 200, "{method} {path}"),
            // By certificate alone, and in the form of its own.
            (false, "/role-aliases/{alias}/credentials") => {
                assert_eq!(answer.status, 403, "{method} {path} without a certificate");
                assert!(answer.json()["message"].as_str().unwrap().starts_with("Access Denied"));
                continue;
            }
            // The AWS surface says it in its own form.
            (false, _) if method == "POST" && (!route.starts_with("/v1/") || OF_THE_CLOUD.contains(&route)) => {
                assert_eq!(answer.status, 403, "{method} {path} without credentials");
                assert_eq!(answer.header("x-amzn-errortype"), "MissingAuthenticationTokenException");
            }
            (false, "/") => {
                assert_eq!(answer.status, 401, "{method} {path} without credentials");
                assert!(answer.header("content-type").starts_with("text/html"), "the page to sign in on");
            }
            (false, _) => {
                assert_eq!(answer.status, 401, "{method} {path} without credentials");
                assert_eq!(answer.code(), "unauthorized");
            }
        }
        if open {
            continue;
        }
        let answer = server.send(method, &path, &[("authorization", &bearer)], body()).await;
        assert!(
            [401, 403, 404].contains(&answer.status.as_u16()),
            "{method} {path} with a foreign token: {}",
            answer.status
        );
        // A token in the path stands for itself, whatever else is sent.
        if route.starts_with("/p/") {
            let answer = server.send(method, &path, &[("authorization", &basic(KEY, SECRET))], None).await;
            assert_eq!(answer.status, 401, "a wrong token is not made good by root's credentials");
            continue;
        }
        // Root comes last: some of these routes remove things, or never end.
        if route == "/v1/events"
            || route == "/v1/cameras/probe"
            || (method == "DELETE" && route.starts_with("/v1/streams"))
        {
            continue;
        }
        let answer = server.root(method, &path, body()).await;
        assert!(![401, 403].contains(&answer.status.as_u16()), "{method} {path} as root: {}", answer.status);
        assert!(answer.status.as_u16() != 500, "{method} {path} as root: {}", answer.text());
    }
    // A stream that does not exist and one that is not the token's look the same.
    let hidden = server.send("GET", "/v1/streams/mine/hls/index.m3u8", &[("authorization", &bearer)], None).await;
    let missing = server.send("GET", "/v1/streams/nothing/hls/index.m3u8", &[("authorization", &bearer)], None).await;
    assert_eq!((hidden.status, hidden.text().replace("mine", "nothing")), (missing.status, missing.text()));
    assert!(missing.text().contains("there is no stream nothing"), "what was asked for is named: {}", missing.text());
    // Its own stream plays, under both paths.
    for path in ["/v1/streams/theirs/hls/index.m3u8", "/v1/streams/theirs/hls/media.m3u8"] {
        assert_eq!(server.send("GET", path, &[("authorization", &bearer)], None).await.status, 200, "{path}");
    }
    assert_eq!(server.send("GET", &format!("{path}/media.m3u8"), &[], None).await.status, 200);
    for (method, path) in
        [("GET", "/v1/streams/theirs/timeline"), ("GET", "/"), ("GET", "/v1/server"), ("DELETE", "/v1/session")]
    {
        assert_eq!(server.send(method, path, &[("authorization", &bearer)], None).await.status, 403, "{method} {path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_tell_strangers_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let odd = [
        "/../src/lib.rs",
        "/assets/../../build.rs",
        "/nothing",
        "/assets/x.js",
        "/sign-in.html",
        "/v1",
        "/v1/streams/%ff%fe",
        "/v1/streams/..%2f..%2fetc",
        "//",
        "/%2e%2e/",
        "/p/",
        "/p",
    ];
    for path in odd {
        assert_eq!(server.send("GET", path, &[], None).await.status, 401, "{path}");
        let answer = server.root("GET", path, None).await;
        assert!(answer.status.is_client_error() || path == "/sign-in.html", "{path}: {}", answer.status);
    }
    assert_eq!(server.send("PUT", "/v1/cameras", &[], None).await.status, 401);
    assert_eq!(server.send("POST", "/healthz", &[], None).await.status, 401);
    let answer = server.root("PUT", "/v1/cameras", None).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (405, "method_not_allowed"));
    // Programs are challenged, browsers and their scripts are not.
    let challenge = |headers: &'static [(&str, &str)]| server.send("GET", "/v1/cameras", headers, None);
    assert!(challenge(&[]).await.header("www-authenticate").starts_with("Basic"));
    assert_eq!(challenge(&[("accept", "text/html,*/*")]).await.header("www-authenticate"), "");
    assert_eq!(challenge(&[("user-agent", "Mozilla/5.0")]).await.header("www-authenticate"), "");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_and_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let page = server.send("GET", "/", &[("accept", "text/html")], None).await;
    assert_eq!(page.status, 401);
    assert!(page.text().contains("action=\"/v1/session\""), "the sign-in page");
    let csp = page.header("content-security-policy").to_owned();
    assert!(csp.contains("'sha256-") && csp.contains("frame-ancestors 'none'") && !csp.contains("unsafe"), "{csp}");

    let form = [("content-type", "application/x-www-form-urlencoded")];
    let text = |secret: &str| Some(Value::String(format!("access_key_id={KEY}&secret_access_key={secret}")));
    let wrong = server.send("POST", "/v1/session", &form, text("wrong")).await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.text().contains("role=\"alert\"") && wrong.header("set-cookie").is_empty());
    let right = server.send("POST", "/v1/session", &form, text(SECRET)).await;
    assert_eq!((right.status.as_u16(), right.header("location")), (303, "/"));
    let cookie = right.header("set-cookie");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains("Secure"),
        "{cookie}"
    );

    let given = json!({"access_key_id": KEY, "secret_access_key": SECRET});
    let right = server.send("POST", "/v1/session", &[("origin", "http://evil.example")], Some(given.clone())).await;
    assert_eq!(right.status, 403, "another site cannot sign anyone in");
    let right = server.send("POST", "/v1/session", &[], Some(given)).await;
    assert_eq!(right.status, 204);
    let cookie = right.header("set-cookie").split(';').next().unwrap().to_owned();

    let with = [("cookie", cookie.as_str())];
    assert_eq!(server.send("GET", "/v1/session", &with, None).await.json(), json!({"access_key_id": KEY}));
    let page = server.send("GET", "/", &with, None).await;
    assert_eq!(page.status, 200);
    let csp = page.header("content-security-policy");
    assert!(csp.contains("default-src 'self'") && csp.contains("worker-src 'self';"), "{csp}");
    assert_eq!((page.header("cache-control"), page.header("x-content-type-options")), ("no-store", "nosniff"));
    let bearer = format!("Bearer {}", cookie.split_once('=').unwrap().1);
    assert_eq!(server.send("GET", "/v1/server", &[("authorization", &bearer)], None).await.status, 200);

    // What a browser asks for and changes something must come from this origin.
    let rule = || Some(json!({}));
    let own = format!("http://{}", server.address);
    for (name, value, refused) in
        [("origin", "http://evil.example", true), ("sec-fetch-site", "cross-site", true), ("origin", &own, false)]
    {
        let answer = server.send("POST", "/v1/rules", &[with[0], (name, value)], rule()).await;
        assert_eq!(answer.status == 403, refused, "{name}: {value}: {}", answer.text());
        // A browser remembers Basic credentials too.
        let basic = basic(KEY, SECRET);
        let answer = server.send("POST", "/v1/rules", &[("authorization", &basic), (name, value)], rule()).await;
        assert_eq!(answer.status == 403, refused, "Basic, {name}: {value}: {}", answer.text());
    }

    assert_eq!(server.send("DELETE", "/v1/session", &with, None).await.status, 204);
    assert_eq!(server.send("GET", "/v1/session", &with, None).await.status, 401, "ended");
    server.stop().await;
    let server = Server::start(folder.path()).await;
    assert_eq!(server.send("GET", "/v1/session", &with, None).await.status, 401, "also after a restart");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_root_secret_ends_sessions_and_playback_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    record(&stream, &take(2, 1000)).await;
    let given = json!({"access_key_id": KEY, "secret_access_key": SECRET});
    let cookie = server.send("POST", "/v1/session", &[], Some(given)).await.header("set-cookie").to_owned();
    let cookie = cookie.split(';').next().unwrap();
    let index = format!("{}/index.m3u8", server.playback("gate", json!({})).await);
    server.stop().await;

    let server = Server::start(folder.path()).await;
    assert_eq!(
        server.send("GET", "/v1/session", &[("cookie", cookie)], None).await.status,
        200,
        "a restart ends nothing"
    );
    assert_eq!(server.send("GET", &index, &[], None).await.status, 200);
    server.stop().await;

    let server = Server::start_as(folder.path(), "another-secret").await;
    assert_eq!(server.send("GET", "/v1/session", &[("cookie", cookie)], None).await.status, 401);
    assert_eq!(server.send("GET", &index, &[], None).await.status, 401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_down() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    for n in 0..10 {
        let wrong = basic(KEY, &format!("guess {n}"));
        assert_eq!(server.send("GET", "/v1/server", &[("authorization", &wrong)], None).await.status, 401);
    }
    let answer = server.root("GET", "/v1/server", None).await;
    assert_eq!(answer.status, 429, "not even the right one is looked at");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() <= 6);
    let given = json!({"access_key_id": KEY, "secret_access_key": SECRET});
    assert_eq!(server.send("POST", "/v1/session", &[], Some(given)).await.status, 429);
    server.stop().await;
}

/// Bytes that are no HTTP, and HTTP that is odd, from a generator with a fixed seed.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_breaks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let heads = [
        "",
        "GET /",
        "GET /v1/streams/",
        "POST /v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
        "GET /p/",
    ];
    let ends = [
        "",
        " HTTP/1.1\r\nHost: x\r\n\r\n",
        "/index.m3u8?from=%ff HTTP/1.1\r\nHost: x\r\nCookie: vidicon_session=\u{e9};;=\r\n\r\n",
    ];
    for _ in 0..300 {
        let (head, end) = (heads[random() as usize % heads.len()], ends[random() as usize % ends.len()]);
        let middle: Vec<u8> = (0..random() % 200).map(|_| random() as u8).collect();
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        for part in [head.as_bytes(), &middle, end.as_bytes()] {
            // The server may have hung up already.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, part).await;
        }
    }
    for header in [
        ("authorization", "Basic"),
        ("authorization", "Bearer \u{7f}"),
        ("authorization", "Basic !!!!"),
        ("cookie", "vidicon_session"),
    ] {
        let header = (header.0, header.1.trim_end_matches('\u{7f}'));
        assert_eq!(server.send("GET", "/v1/server", &[header], None).await.status, 401, "{header:?}");
    }
    assert_eq!(server.root("GET", "/v1/server", None).await.status, 200);
    server.stop().await;
}
