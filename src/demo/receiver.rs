//! The demo's webhook receiver: verifies each request's signature as any receiver should, and prints the alert.

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// Alert ids that were printed; a repeat (deliveries are at least once) is not printed again.
struct Receiver {
    secret: String,
    seen: Mutex<HashSet<String>>,
}

/// Serves on the listener until the process ends.
pub(crate) fn start(listener: TcpListener, secret: String) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let receiver = Arc::new(Receiver { secret, seen: Mutex::default() });
    let app = Router::new().route("/alerts", post(receive)).with_state(receiver);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(())
}

#[allow(clippy::print_stdout)]
async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if !signed(&receiver.secret, &headers, &body) {
        println!("a request with a wrong signature was refused");
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(event) = serde_json::from_slice::<serde_json::Value>(&body) else { return StatusCode::BAD_REQUEST };
    let id = event["id"].as_str().unwrap_or("").to_owned();
    if receiver.seen.lock().expect("never poisoned: nothing panics under it").insert(id) {
        let data = &event["data"];
        let text = |key: &str| data[key].as_str().unwrap_or("?").to_owned();
        let time = media::UnixMillis(data["producer_time_ms"].as_i64().unwrap_or(0)).to_rfc3339();
        println!(
            "alert  {time}  {} {:.2} on {} (rule {}, fragment {} + {} ms)  signature ok",
            text("class"),
            data["score"].as_f64().unwrap_or(0.0),
            text("stream"),
            text("rule"),
            text("fragment"),
            data["offset_ms"],
        );
    }
    StatusCode::NO_CONTENT
}

/// `X-Vidicon-Signature: t=<unix seconds>,v1=<hex HMAC-SHA-256 of "t.body">`.
fn signed(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let header = headers.get("x-vidicon-signature").and_then(|v| v.to_str().ok()).unwrap_or("");
    let field = |name: &str| header.split(',').find_map(|p| p.trim().strip_prefix(name)?.strip_prefix('='));
    let (Some(time), Some(hex)) = (field("t"), field("v1")) else { return false };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    let bytes: Option<Vec<u8>> =
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(hex.get(i..i + 2)?, 16).ok()).collect();
    bytes.is_some_and(|b| mac.verify_slice(&b).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_secret_and_body_pass() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"key").expect("any length");
        mac.update(b"5.body");
        let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
        let mut headers = HeaderMap::new();
        headers.insert("x-vidicon-signature", format!("t=5,v1={hex}").parse().expect("ASCII"));
        assert!(signed("key", &headers, b"body"));
        assert!(!signed("kez", &headers, b"body"));
        assert!(!signed("key", &headers, b"bodY"));
        assert!(!signed("key", &HeaderMap::new(), b"body"));
    }
}
