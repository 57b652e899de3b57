//! Secrets pass through, and none of them is logged. A test of its own process, so that the log is this test's alone.
#![allow(clippy::unwrap_used)]

mod common;

use common::{KEY, SECRET, Server, basic, record, take};
use serde_json::json;
use std::{
    io::Write,
    sync::{Arc, Mutex},
};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_ever_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("web=trace,info")
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    record(&stream, &take(2, 1000)).await;
    let given = json!({"access_key_id": KEY, "secret_access_key": SECRET});
    let cookie = server.send("POST", "/v1/session", &[], Some(given)).await.header("set-cookie").to_owned();
    let session = cookie.split(';').next().unwrap().split_once('=').unwrap().1.to_owned();
    server.send("GET", "/v1/server", &[("authorization", &basic(KEY, "canary-guess"))], None).await;
    let path = server.playback("gate", json!({})).await;
    server.send("GET", &format!("{path}/media.m3u8"), &[], None).await;
    server.send("GET", &format!("{path}x/media.m3u8"), &[], None).await;
    let camera = json!({"name": "door", "url": "rtsp://u:canary-camera@127.0.0.1:9/x"});
    let shown = server.root("POST", "/v1/cameras", Some(camera)).await;
    assert_eq!(shown.status, 201, "{}", shown.text());
    assert!(!shown.text().contains("canary"));
    for (name, url) in [
        ("yard", "rtsp://u:canary-file@127.0.0.1:9/x"),
        ("pipe", "gst:rtspsrc location=rtsp://127.0.0.1:9/ user-pw=canary-pipeline ! rtph264depay"),
    ] {
        let camera = json!({"stream": name, "url": url, "enabled": false, "from_config": true});
        server.store.put_camera(serde_json::from_value(camera).unwrap()).await.unwrap();
        let shown = server.root("GET", &format!("/v1/cameras/{name}"), None).await;
        assert!(shown.status == 200 && !shown.text().contains("canary"), "{}", shown.text());
    }
    let target = json!({"name": "ops", "url": "http://127.0.0.1:9/", "secret": "canary-target", "allow_local": true});
    let shown = server.root("POST", "/v1/targets", Some(target)).await;
    assert_eq!(shown.status, 201, "{}", shown.text());
    let listed = [server.root("GET", "/v1/targets", None).await, server.root("GET", "/v1/cameras", None).await];
    assert!(listed.iter().all(|answer| !answer.text().contains("canary")));
    // Access keys: their secrets stand in the answers that make them, their ids in the audit lines.
    let made = server.root("POST", "/v1/keys", Some(json!({"user": "door", "policies": ["camera"]}))).await.json();
    let id = made["access_key_id"].as_str().unwrap();
    let rotated = server.root("POST", &format!("/v1/keys/{id}/rotate"), Some(json!({}))).await.json();
    let of = |key: &serde_json::Value| key["secret_access_key"].as_str().unwrap().to_owned();
    let secrets = [of(&made), of(&rotated)];
    let own = basic(rotated["access_key_id"].as_str().unwrap(), &secrets[1]);
    let refused = server.send("POST", "/v1/keys", &[("authorization", &own)], Some(json!({"user": "more"}))).await;
    assert_eq!(refused.status, 403);
    let inline = json!({"user": "no\nline"});
    assert_eq!(server.root("POST", "/v1/keys", Some(inline)).await.status, 400);
    assert_eq!(server.root("DELETE", "/v1/roles/nobody", None).await.status, 404);
    let provider = json!({"url": "ftp://id.example", "client_ids": ["a"]});
    assert_eq!(server.root("POST", "/v1/oidc-providers", Some(provider)).await.status, 400);
    let provider = json!({"url": "https://id.example", "client_ids": []});
    assert_eq!(server.root("POST", "/v1/oidc-providers", Some(provider)).await.status, 400);
    for document in server.store.documents(store::documents::KEY, "", None, 10).await.unwrap() {
        assert!(!secrets.iter().any(|secret| document.body.to_string().contains(secret)), "sealed");
    }
    server.stop().await;
    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(text.contains("signed in") && text.contains("answered"), "the log is the server's: {text}");
    let audited = |change: &str, outcome: &str| {
        let mut lines = text.lines().filter(|line| line.contains("audit"));
        lines.any(|line| {
            line.contains(&format!("change=\"{change}\"")) && line.contains(&format!("outcome=\"{outcome}\""))
        })
    };
    assert!(
        audited("create key", "done") && audited("rotate key", "done") && audited("create key", "refused"),
        "{text}"
    );
    assert!(text.contains(id), "{text}");
    let line = |change: &str, outcome: &str| {
        let has = |line: &&str| line.contains(&format!("change=\"{change}\"")) && line.contains(outcome);
        text.lines()
            .filter(|line| line.contains("audit"))
            .find(has)
            .unwrap_or_else(|| panic!("no {change} {outcome}: {text}"))
    };
    let who = format!("by=\"arn:aws:iam::123456789012:user/door {}\"", rotated["access_key_id"].as_str().unwrap());
    let refused = line("create key", "refused");
    assert!(
        refused.contains(&who) && refused.contains("name=\"more\"") && refused.contains("iam:CreateAccessKey"),
        "{refused}"
    );
    let failed = line("create key", "failed");
    assert!(failed.contains("by=\"root\"") && failed.contains("address=127.0.0.1"), "{failed}");
    assert!(failed.contains("name=\"noline\"") && failed.contains("why=\"user: 1 to 64"), "{failed}");
    let failed = line("delete role", "failed");
    assert!(failed.contains("name=\"nobody\"") && failed.contains("why="), "{failed}");
    assert!(line("create OpenID Connect provider", "failed").contains("client_ids"));
    for secret in &secrets {
        assert!(!text.contains(secret), "the secret of a key in the log");
    }
    for secret in ["canary", session.as_str(), path.strip_prefix("/p/").unwrap()] {
        assert!(!text.contains(secret), "{secret} in the log");
    }
}
