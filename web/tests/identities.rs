//! Keys, roles and policies over REST: what is made, shown, changed and refused, and what that means for who holds them.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Answer, Server, basic};
use serde_json::{Value, json};

fn of(made: &Value) -> (String, String) {
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let id = text("access_key_id");
    (id.clone(), basic(&id, &text("secret_access_key")))
}

async fn made(server: &Server, path: &str, body: Value) -> Value {
    let answer = server.root("POST", path, Some(body)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()
}

fn refused(answer: &Answer, status: u16, code: &str, part: &str) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{}", answer.text());
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains(part), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_from_making_it_to_removing_it() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("door").await;
    let new = json!({"user": "door", "policies": ["camera"], "tags": {"site": "north"}, "description": "at the door"});
    let key = made(&server, "/v1/keys", new).await;
    let (id, auth) = of(&key);
    assert!(id.starts_with("AKIA") && id.len() == 20);
    assert_eq!(key["secret_access_key"].as_str().unwrap().len(), 40);
    assert_eq!(key["arn"], "arn:aws:iam::123456789012:user/door");
    let path = format!("/v1/keys/{id}");
    let shown = server.root("GET", &path, None).await;
    assert!(!shown.text().contains("secret"), "shown once: {}", shown.text());
    assert_eq!((&shown.json()["active"], &shown.json()["tags"]["site"]), (&json!(true), &json!("north")));
    let describe = |auth: String| {
        let server = &server;
        async move {
            let body = Some(json!({"StreamName": "door"}));
            server.send("POST", "/describeStream", &[("authorization", &auth)], body).await.status.as_u16()
        }
    };
    assert_eq!(describe(auth.clone()).await, 200, "its own stream");

    // Disabled and enabled; the version that was expected.
    let version = key["version"].as_u64().unwrap();
    let off = server.root("PATCH", &path, Some(json!({"version": version, "active": false}))).await;
    assert_eq!((off.status.as_u16(), &off.json()["active"]), (200, &json!(false)));
    assert_eq!(describe(auth.clone()).await, 403);
    let late = server.root("PATCH", &path, Some(json!({"version": version, "active": true}))).await;
    refused(&late, 409, "conflict", "version");
    assert_eq!(server.root("PATCH", &path, Some(json!({"active": true, "description": "x"}))).await.status, 200);
    assert_eq!(describe(auth.clone()).await, 200);

    // Rotated: both hold, the old one until its end; at once without an overlap.
    let rotated = made(&server, &format!("{path}/rotate"), json!({})).await;
    let (new_id, new_auth) = of(&rotated);
    assert_ne!(new_id, id);
    assert_eq!((&rotated["user"], &rotated["policies"]), (&json!("door"), &json!(["camera"])));
    let end = server.root("GET", &path, None).await.json()["expires_at"].as_i64().unwrap();
    assert!((end - common::now().0 - 24 * 3_600_000).abs() < 60_000, "a day");
    assert_eq!((describe(auth.clone()).await, describe(new_auth.clone()).await), (200, 200));
    let at_once = made(&server, &format!("/v1/keys/{new_id}/rotate"), json!({"overlap_s": 0})).await;
    assert_eq!((describe(new_auth).await, describe(of(&at_once).1).await), (403, 200));
    let again = server.root("POST", &format!("/v1/keys/{new_id}/rotate"), Some(json!({}))).await;
    refused(&again, 409, "conflict", "not active");

    // Listed in pages, by user.
    made(&server, "/v1/keys", json!({"user": "other"})).await;
    let all = server.root("GET", "/v1/keys", None).await.json();
    assert_eq!((all["keys"].as_array().unwrap().len(), &all["next"]), (4, &Value::Null));
    assert!(!all.to_string().contains("secret"), "{all}");
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.root("GET", &format!("/v1/keys?user=door&limit=1{after}"), None).await.json();
        ids.extend(page["keys"].as_array().unwrap().iter().map(|key| key["access_key_id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(ids.len(), 3);
    refused(&server.root("GET", "/v1/keys?limit=0", None).await, 400, "invalid", "limit");

    let wrong = server.root("DELETE", &format!("{path}?version=1"), None).await;
    refused(&wrong, 409, "conflict", "version");
    assert_eq!(server.root("DELETE", &path, None).await.status, 204);
    assert_eq!(describe(auth).await, 403);
    refused(&server.root("GET", &path, None).await, 404, "not_found", &id);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_refused_by_member() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let statement = json!({"Effect": "Allow", "Action": "PutMedia", "Resource": "*"});
    let cases = [
        (json!({}), "user"),
        (json!({"user": ""}), "user"),
        (json!({"user": ".."}), "user"),
        (json!({"user": "a b"}), "user"),
        (json!({"user": "x".repeat(65)}), "user"),
        (json!({"user": "a", "policies": ["nobody-made-this"]}), "nobody-made-this"),
        (json!({"user": "a", "policies": vec!["camera"; 21]}), "policies"),
        (json!({"user": "a", "inline_policy": {"Statement": [statement]}}), "inline_policy: statement 1: Action"),
        (json!({"user": "a", "tags": {"": "x"}}), "tags"),
        (json!({"user": "a", "expires_at": 1}), "expires_at"),
        (json!({"user": "a", "description": "\u{7}"}), "description"),
        (json!({"user": "a", "secret_access_key": "mine"}), "secret_access_key"),
    ];
    for (body, part) in cases {
        refused(&server.root("POST", "/v1/keys", Some(body)).await, 400, "invalid", part);
    }
    assert_eq!(server.root("GET", "/v1/keys", None).await.json(), json!({"keys": []}), "nothing was made");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_checked_versioned_attached_and_kept_while_in_use() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let document = |action: &str| {
        json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": action, "Resource": "*"},
        {"Effect": "Deny", "Action": "kinesisvideo:DeleteStream", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]})
    };
    let new = json!({"name": "readers", "document": document("vidicon:DescribeServer"), "description": "of figures"});
    let policy = made(&server, "/v1/policies", new.clone()).await;
    assert_eq!(policy["arn"], "arn:aws:iam::123456789012:policy/readers");
    refused(&server.root("POST", "/v1/policies", Some(new)).await, 409, "already_exists", "readers");
    let preset = server.root("POST", "/v1/policies", Some(json!({"name": "camera", "document": document("*")}))).await;
    refused(&preset, 400, "invalid", "preset");
    let mut wrong = document("*");
    wrong["Statement"][1]["Condition"] = json!({"Bool": {"aws:SecureTransport": "maybe"}});
    let wrong = server.root("POST", "/v1/policies", Some(json!({"name": "x", "document": wrong}))).await;
    refused(&wrong, 400, "invalid", "document: statement 2: Condition: Bool: aws:SecureTransport");

    let listed = server.root("GET", "/v1/policies", None).await.json();
    let names: Vec<_> = listed["policies"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["camera", "master", "viewer", "playback", "analytics", "admin", "readers"]);
    assert!(listed["policies"][6].get("document").is_none());
    let camera = server.root("GET", "/v1/policies/camera", None).await.json();
    assert_eq!((&camera["preset"], &camera["document"]["Version"]), (&json!(true), &json!("2012-10-17")));

    let (id, auth) = of(&made(&server, "/v1/keys", json!({"user": "ops"})).await);
    let status = |path: &'static str| {
        let (server, auth) = (&server, auth.clone());
        async move { server.send("GET", path, &[("authorization", &auth)], None).await.status.as_u16() }
    };
    assert_eq!(status("/v1/server").await, 403);
    let attached = format!("/v1/keys/{id}/policies/readers");
    assert_eq!(server.root("PUT", &attached, None).await.json()["policies"], json!(["readers"]));
    assert_eq!(server.root("PUT", &attached, None).await.json()["policies"], json!(["readers"]), "once");
    assert_eq!(status("/v1/server").await, 200);
    let none = server.root("PUT", &format!("/v1/keys/{id}/policies/none"), None).await;
    refused(&none, 400, "invalid", "none");

    // A change of the policy counts at once.
    let change = json!({"version": policy["version"], "document": document("vidicon:ListRules")});
    let changed = server.root("PATCH", "/v1/policies/readers", Some(change.clone())).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    refused(&server.root("PATCH", "/v1/policies/readers", Some(change)).await, 409, "conflict", "version");
    assert_eq!((status("/v1/server").await, status("/v1/rules").await), (403, 200));

    refused(&server.root("DELETE", "/v1/policies/readers", None).await, 409, "conflict", &id);
    assert_eq!(server.root("DELETE", &attached, None).await.json()["policies"], json!([]));
    refused(&server.root("DELETE", &attached, None).await, 404, "not_found", "readers");
    assert_eq!(status("/v1/rules").await, 403);
    assert_eq!(server.root("DELETE", "/v1/policies/readers", None).await.status, 204);
    refused(&server.root("DELETE", "/v1/policies/camera", None).await, 400, "invalid", "preset");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_have_a_trust_policy_and_bounds() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:user/ci"}, "Action": "sts:AssumeRole"}]});
    let role = made(&server, "/v1/roles", json!({"name": "viewers", "trust": trust, "policies": ["playback"]})).await;
    assert!(role["role_id"].as_str().unwrap().starts_with("AROA"));
    assert_eq!(
        (&role["arn"], &role["max_session_s"]),
        (&json!("arn:aws:iam::123456789012:role/viewers"), &json!(3600))
    );
    assert_eq!(server.root("GET", "/v1/roles/viewers", None).await.json(), role);
    assert_eq!(server.root("GET", "/v1/roles", None).await.json(), json!({"roles": [role]}));
    let cases = [
        (
            json!({"name": "a", "trust": {"Statement": {"Effect": "Allow", "Action": "sts:*"}}}),
            "statement 1: Principal",
        ),
        (json!({"name": "a", "trust": trust, "max_session_s": 60}), "max_session_s"),
        (json!({"name": "a/b", "trust": trust}), "name"),
        (json!({"name": "a", "trust": trust, "policies": ["none"]}), "none"),
    ];
    for (body, part) in cases {
        refused(&server.root("POST", "/v1/roles", Some(body)).await, 400, "invalid", part);
    }
    let change = json!({"version": role["version"], "max_session_s": 43200, "end_sessions": true, "inline_policy":
        {"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}});
    let changed = server.root("PATCH", "/v1/roles/viewers", Some(change)).await.json();
    assert_eq!((&changed["max_session_s"], &changed["policies"]), (&json!(43200), &json!(["playback"])));
    assert!(changed["sessions_from"].is_i64() && changed["inline_policy"].is_object());
    let changed = server.root("PATCH", "/v1/roles/viewers", Some(json!({"inline_policy": null}))).await.json();
    assert!(changed.get("inline_policy").is_none());
    assert_eq!(server.root("PUT", "/v1/roles/viewers/policies/viewer", None).await.status, 200);
    let detached = server.root("DELETE", "/v1/roles/viewers/policies/playback", None).await;
    assert_eq!(detached.json()["policies"], json!(["viewer"]));
    assert_eq!(server.root("DELETE", "/v1/roles/viewers", None).await.status, 204);
    refused(&server.root("GET", "/v1/roles/viewers", None).await, 404, "not_found", "viewers");
    server.stop().await;
}

/// Those who may manage some identities reach neither others nor more rights, and nobody locks root out.
#[tokio::test(flavor = "multi_thread")]
async fn rights_over_identities_do_not_grow() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let statement = json!({"Effect": "Allow", "Action": ["iam:CreateAccessKey", "iam:UpdateAccessKey", "iam:DeleteAccessKey", "iam:ListAccessKeys"],
        "Resource": "arn:aws:iam::*:user/cam-*"});
    let technician = json!({"user": "technician", "inline_policy": {"Statement": [statement]}});
    let (technician, auth) = of(&made(&server, "/v1/keys", technician).await);
    let (admin, admin_auth) = of(&made(&server, "/v1/keys", json!({"user": "boss", "policies": ["admin"]})).await);
    let send = |method: &'static str, path: String, body: Option<Value>| {
        let (server, auth) = (&server, auth.clone());
        async move { server.send(method, &path, &[("authorization", &auth)], body).await }
    };
    let own = send("POST", "/v1/keys".into(), Some(json!({"user": "cam-1"}))).await;
    assert_eq!(own.status, 201, "{}", own.text());
    let own = of(&own.json()).0;
    for body in [
        json!({"user": "boss"}),
        json!({"user": "cam-2", "policies": ["admin"]}),
        json!({"user": "cam-2", "inline_policy": {"Statement": []}}),
        json!({"user": "cam-2", "tags": {"device": "x"}}),
    ] {
        refused(&send("POST", "/v1/keys".into(), Some(body)).await, 403, "forbidden", "not authorized");
    }
    assert_eq!(send("GET", "/v1/keys?user=cam-1".into(), None).await.status, 200);
    for path in ["/v1/keys", "/v1/keys?user=boss", "/v1/roles", "/v1/policies", "/v1/policies/admin", "/v1/server"] {
        refused(&send("GET", path.into(), None).await, 403, "forbidden", "");
    }
    assert_eq!(send("PATCH", format!("/v1/keys/{own}"), Some(json!({"active": false}))).await.status, 200);
    // Whether a key of others exists is not told, whatever is asked of it.
    let words = |answer: &Answer, id: &str| (answer.status, answer.text().replace(id, "-"));
    let other = [
        ("GET", "", None),
        ("DELETE", "", None),
        ("PATCH", "", Some(json!({"active": false}))),
        ("POST", "/rotate", Some(json!({}))),
        ("PUT", "/policies/admin", None),
    ];
    for (method, end, body) in other {
        let there = send(method, format!("/v1/keys/{admin}{end}"), body.clone()).await;
        let none = send(method, format!("/v1/keys/AKIANOBODY{end}"), body.clone()).await;
        refused(&there, 403, "forbidden", "");
        assert_eq!(words(&there, &admin), words(&none, "AKIANOBODY"), "{method} {end}");
        // Nor does it do with its own what it may not do.
        if end == "/policies/admin" {
            refused(&send(method, format!("/v1/keys/{own}{end}"), body).await, 403, "forbidden", "");
        }
    }
    assert_eq!(send("DELETE", format!("/v1/keys/{own}"), None).await.status, 204);

    // The admin may do everything; and yet root stays root.
    let as_admin = |method: &'static str, path: String, body: Option<Value>| {
        let (server, auth) = (&server, admin_auth.clone());
        async move { server.send(method, &path, &[("authorization", &auth)], body).await.status.as_u16() }
    };
    assert_eq!(as_admin("DELETE", format!("/v1/keys/{technician}"), None).await, 204);
    for method in ["GET", "DELETE"] {
        assert_eq!(as_admin(method, format!("/v1/keys/{}", common::KEY), None).await, 404, "root is no key");
    }
    let locked = json!({"inline_policy": {"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}});
    assert_eq!(as_admin("PATCH", format!("/v1/keys/{admin}"), Some(locked)).await, 200);
    assert_eq!(as_admin("GET", "/v1/keys".into(), None).await, 403, "it locked itself out");
    let opened = server.root("PATCH", &format!("/v1/keys/{admin}"), Some(json!({"inline_policy": null}))).await;
    assert_eq!(opened.status, 200);
    assert_eq!(as_admin("GET", "/v1/keys".into(), None).await, 200);
    server.stop().await;
}
