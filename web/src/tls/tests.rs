#![allow(clippy::unwrap_used)]

use super::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::path::Path;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

fn made() -> (String, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

fn written(folder: &Path, certificate: &str, key: &str) -> TlsConfig {
    let paths = [folder.join("c.pem"), folder.join("k.pem")];
    std::fs::write(&paths[0], certificate).unwrap();
    std::fs::write(&paths[1], key).unwrap();
    let [certificate, key] = paths.map(Some);
    TlsConfig { certificate, key, ..TlsConfig::default() }
}

#[test]
fn what_is_wrong_with_a_pair_is_said_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = made();
    let (_, other) = made();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let refused = |certificate: &str, key: &str| {
        let why = written(folder.path(), certificate, key).load().err().unwrap();
        assert!(!why.contains('\n') && !why.contains(&key[30.min(key.len())..60.min(key.len())]) || key.is_empty());
        why
    };
    assert!(written(folder.path(), &certificate, &key).load().unwrap().is_some());
    assert!(written(folder.path(), &format!("{certificate}{certificate}"), &key).load().is_ok(), "a chain");
    let why = refused(&certificate, &other);
    assert!(why.starts_with("tls.key: ") && why.contains("k.pem is not the key of") && why.contains("c.pem"), "{why}");
    for (certificate, key, file, part) in [
        ("", &key[..], "tls.certificate: ", "c.pem holds no certificate"),
        ("junk", &key, "tls.certificate: ", "c.pem holds no certificate"),
        (&key, &key, "tls.certificate: ", "c.pem holds no certificate"),
        (broken, &key, "tls.certificate: ", "c.pem is none"),
        ("-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n", &key, "tls.certificate: ", "is no PEM"),
        (&certificate, &certificate, "tls.key: ", "k.pem holds no private key"),
        (
            &certificate,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "tls.key: ",
            "encrypted",
        ),
        (
            &certificate,
            "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
            "tls.key: ",
            "k.pem cannot be used",
        ),
    ] {
        let why = refused(certificate, key);
        assert!(why.starts_with(file) && why.contains(part), "{why}");
    }
    let ca = folder.path().join("ca.pem");
    for (text, part) in [("", "ca.pem holds no certificate"), (broken, "certificate 1 in")] {
        std::fs::write(&ca, text).unwrap();
        let why = TlsConfig { device_ca: Some(ca.clone()), ..written(folder.path(), &certificate, &key) };
        let why = why.load().err().unwrap();
        assert!(why.starts_with("tls.device_ca: ") && why.contains(part), "{why}");
    }
    let missing = TlsConfig { key: Some("/nowhere/k.pem".into()), ..written(folder.path(), &certificate, &key) };
    let why = missing.load().err().unwrap();
    assert!(why.starts_with("tls.key: /nowhere/k.pem cannot be read"), "{why}");
    assert!(TlsConfig::default().load().unwrap().is_none());
}

#[test]
fn half_a_table_is_refused() {
    let path = || Some(PathBuf::from("a"));
    let check = |tls: TlsConfig| tls.check().err().unwrap_or_default();
    assert!(check(TlsConfig { certificate: path(), ..Default::default() }).contains("tls.key is not"));
    assert!(check(TlsConfig { key: path(), ..Default::default() }).contains("tls.certificate is not"));
    let listen = Some("127.0.0.1:1".parse().unwrap());
    assert!(check(TlsConfig { listen, ..Default::default() }).contains("tls.listen"));
    assert!(check(TlsConfig { device_ca: path(), ..Default::default() }).contains("tls.device_ca"));
    assert_eq!(
        check(TlsConfig { certificate: path(), key: path(), device_ca: path(), listen, ..Default::default() }),
        ""
    );
    let local = |tls: TlsConfig| check(TlsConfig { local: true, ..tls });
    assert_eq!(
        local(TlsConfig { names: vec!["nvr.local".into()], listen, device_ca: path(), ..Default::default() }),
        ""
    );
    assert!(
        local(TlsConfig { certificate: path(), key: path(), ..Default::default() }).contains("leave one of them out")
    );
    assert!(check(TlsConfig { names: vec!["a".into()], ..Default::default() }).contains("tls.local, which is off"));
    let why = local(TlsConfig { names: vec!["a".into(), "No Name".into()], ..Default::default() });
    assert!(why.starts_with("tls.names: \"No Name\""), "{why}");
    assert!(local(TlsConfig { names: vec!["a".into(); 51], ..Default::default() }).contains("has 51 names"));
}

#[test]
fn what_the_files_hold_is_tried_once() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = made();
    let tls = written(folder.path(), &certificate, &key).load().unwrap().unwrap();
    let first = tls.current();
    tls.reload();
    assert!(Arc::ptr_eq(&first, &tls.current()), "nothing changed");
    for wrong in ["", "junk", &made().1] {
        written(folder.path(), &certificate, wrong);
        let before = tls.0.tried.lock().unwrap().clone();
        tls.reload();
        assert!(Arc::ptr_eq(&first, &tls.current()) && *tls.0.tried.lock().unwrap() != before);
    }
    std::fs::remove_file(folder.path().join("k.pem")).unwrap();
    tls.reload();
    assert!(Arc::ptr_eq(&first, &tls.current()), "a file that is not there for a moment");
    let (certificate, key) = made();
    written(folder.path(), &certificate, &key);
    tls.reload();
    assert!(!Arc::ptr_eq(&first, &tls.current()), "a pair of use");
}

/// What becomes of a connection on which a client writes these bytes, and no more.
async fn accepted(bytes: &[u8]) -> (Result<bool, std::io::ErrorKind>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = made();
    let tls = written(folder.path(), &certificate, &key).load().unwrap().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    client.write_all(bytes).await.unwrap();
    let server = tokio::spawn(async move { accept(stream, &tls, Duration::from_millis(300)).await });
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer).await;
    drop(client);
    let outcome = tokio::time::timeout(Duration::from_secs(5), server).await.expect("in time").unwrap();
    (outcome.map(|io| io.is_some()).map_err(|error| error.kind()), answer)
}

#[tokio::test]
async fn handshakes_that_do_not_go_on_end() {
    use std::io::ErrorKind::{InvalidData, TimedOut};
    assert_eq!(accepted(b"").await, (Err(TimedOut), Vec::new()));
    assert_eq!(accepted(b"\x16").await, (Err(TimedOut), Vec::new()));
    assert_eq!(accepted(b"\x16\x03\x01\x02\x00\x01").await, (Err(TimedOut), Vec::new()), "a hello that never ends");
    let (outcome, alert) = accepted(b"\x16\x03\x01\x00\x04\x63\x00\x00\x00").await;
    assert_eq!(outcome, Err(InvalidData), "no hello");
    assert_eq!(alert.first(), Some(&21), "an alert says so");
    assert_eq!(accepted(b"\0\0\0\0").await, (Ok(false), Vec::new()));
    let (outcome, answer) = accepted(b"OPTIONS * HTTP/1.1\r\n\r\n").await;
    assert_eq!(outcome, Ok(false));
    assert!(answer.starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
}
