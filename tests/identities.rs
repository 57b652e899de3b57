//! `vidicon key|role|policy` as processes: in a data folder, and against a running server.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{KEY, SECRET, Server, serve};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

struct Done {
    code: i32,
    out: String,
    err: String,
}

fn vidicon(data: &Path, url: Option<&str>, words: &str) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidicon"));
    command.args(words.split_whitespace()).env("VIDICON_DATA", data);
    for name in ["VIDICON_URL", "VIDICON_ACCESS_KEY_ID", "VIDICON_SECRET_ACCESS_KEY", "VIDICON_CONFIG"] {
        command.env_remove(name);
    }
    command.env("VIDICON_ROOT_ACCESS_KEY_ID", KEY).env("VIDICON_ROOT_SECRET_ACCESS_KEY", SECRET);
    if let Some(url) = url {
        command.args(["--url", url]);
    }
    let done = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code: done.status.code().unwrap(), out: text(done.stdout), err: text(done.stderr) }
}

fn json_of(done: &Done) -> Value {
    assert_eq!(done.code, 0, "{}", done.err);
    serde_json::from_str(&done.out).unwrap()
}

fn refused(done: &Done, code: i32, part: &str) {
    assert_eq!((done.code, done.err.lines().count()), (code, 1), "{}{}", done.out, done.err);
    assert!(done.err.contains(part), "{}", done.err);
    assert!(!done.err.contains(SECRET));
}

#[test]
fn the_same_from_the_command_line_with_and_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    refused(&vidicon(&data, None, "key list"), 1, "is no data folder");
    assert!(!data.exists(), "nothing was made");

    let server = Server::start(serve(&data));
    refused(&vidicon(&data, None, "key list"), 1, "--url");
    let url = Some(server.url.as_str());
    let made = vidicon(&data, url, "key create --preset camera --stream door");
    assert_eq!(made.code, 0, "{}", made.err);
    let said = |name: &str| {
        let words = made.out.split_whitespace().map(|word| word.replace('\'', ""));
        words
            .filter_map(|word| word.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())))
            .find(|(n, _)| n == name)
    };
    let (id, secret) = (said("AWS_ACCESS_KEY_ID").unwrap().1, said("AWS_SECRET_ACCESS_KEY").unwrap().1);
    assert_eq!((said("AWS_ENDPOINT_URL").unwrap().1.as_str(), secret.len()), (server.url.as_str(), 40));
    let shown = json_of(&vidicon(&data, url, &format!("key show {id} --json")));
    assert_eq!((&shown["user"], &shown["tags"]["device"]), (&json!("door"), &json!("door")));
    let table = vidicon(&data, url, "key list");
    assert!(table.out.lines().count() == 2 && table.out.contains(&id) && !table.out.contains(&secret), "{}", table.out);
    // What is refused is one line, with the server's words.
    refused(&vidicon(&data, url, "key attach AKIANOBODY camera"), 1, "AKIANOBODY");
    refused(&vidicon(&data, url, "key create --user x --policy none"), 1, "none");
    refused(&vidicon(&data, url, "key create --preset camera --user x --expires-in soon"), 2, "soon");
    refused(&vidicon(&data, Some("http://127.0.0.1:1"), "key list"), 1, "127.0.0.1");
    let wrong = folder.path().join("wrong.json");
    std::fs::write(&wrong, r#"{"Statement":[{"Effect":"Allow","Action":"*"}]}"#).unwrap();
    let create = format!("policy create watchers --document {}", wrong.display());
    refused(&vidicon(&data, url, &create), 1, "document: statement 1: Resource is missing");
    drop(server);

    // The server is gone: the folder itself.
    let trust = folder.path().join("trust.json");
    let statement = json!({"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"});
    std::fs::write(&trust, json!({"Statement": statement}).to_string()).unwrap();
    let off = json_of(&vidicon(&data, None, &format!("key disable {id} --json")));
    assert_eq!(off["active"], false);
    let stale = format!("key enable {id} --if-version {}", shown["version"]);
    refused(&vidicon(&data, None, &stale), 1, "version");
    assert_eq!(json_of(&vidicon(&data, None, &format!("key enable {id} --json")))["active"], true);
    let document = folder.path().join("document.json");
    std::fs::write(&document, r#"{"Statement":{"Effect":"Allow","Action":"vidicon:DescribeServer","Resource":"*"}}"#)
        .unwrap();
    let create = format!("policy create watchers --document {} --json", document.display());
    assert_eq!(json_of(&vidicon(&data, None, &create))["arn"], "arn:aws:iam::123456789012:policy/watchers");
    let create = format!("role create ops --trust {} --policy watchers --max-session 2h --json", trust.display());
    assert_eq!(json_of(&vidicon(&data, None, &create))["max_session_s"], 7200);
    refused(&vidicon(&data, None, "policy delete watchers"), 1, "role ops");
    assert_eq!(json_of(&vidicon(&data, None, "role detach ops watchers --json"))["policies"], json!([]));
    let attached = json_of(&vidicon(&data, None, &format!("key attach {id} watchers --json")));
    assert_eq!(attached["policies"], json!(["camera", "watchers"]));

    // What was made holds for the server.
    let server = Server::start(serve(&data));
    let asked = ureq::get(format!("{}/v1/server", server.url)).header("authorization", common::basic(&id, &secret));
    assert_eq!(asked.call().unwrap().status().as_u16(), 200);
    assert_eq!(vidicon(&data, Some(&server.url), &format!("key delete {id}")).code, 0);
    let asked = ureq::get(format!("{}/v1/server", server.url)).header("authorization", common::basic(&id, &secret));
    assert!(matches!(asked.call(), Err(ureq::Error::StatusCode(401))));
}
