//! Signing in and out: `POST`, `GET` and `DELETE /v1/session`.

use super::{COOKIE, Caller, SESSION_MS, access::Principal, new_session, origin};
use crate::{error::Error, page, serve, state::Shared, whep};
use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// A sign-in is small.
const MOST_BYTES: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
}

/// Exchanges the root credentials for a session cookie. A form of the sign-in page is answered with a redirect to the
/// page, or with the sign-in page again; JSON with 204 or an error.
pub(crate) async fn sign_in(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let form = content_type(&parts.headers).is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
    let ends = serve::ends(&parts.extensions);
    let address = ends.peer.ip();
    let now = shared.door.now();
    let outcome = match origin::check(&parts) {
        Ok(()) => read(body, form, &parts.headers).await,
        Err(error) => Err(error),
    };
    let outcome = match outcome {
        Ok(c) => shared.auth.check(now, address, &c.access_key_id, &c.secret_access_key).await,
        Err(error) => Err(error),
    };
    // The page is root's: its sessions are bound to the root credentials.
    let outcome = outcome.and_then(|principal| match principal {
        Principal::Root(_) => Ok(()),
        _ => Err(Error::forbidden("only the root credentials sign in to the page; use this key with the API")),
    });
    match outcome {
        Err(error) if form => page::sign_in(&shared.page, error.status, error.retry_after_s(), Some(&error.message)),
        Err(error) => error.into_response(),
        Ok(()) => {
            tracing::info!(%address, "signed in");
            let cookie =
                set_cookie(&shared.auth.signer.session(&new_session(now)), SESSION_MS / 1000, ends.tls, &parts.headers);
            let cookie = [(header::SET_COOKIE, cookie)];
            match form {
                true => (StatusCode::SEE_OTHER, cookie, [(header::LOCATION, "/")]).into_response(),
                false => (StatusCode::NO_CONTENT, cookie).into_response(),
            }
        }
    }
}

async fn read(body: Body, form: bool, headers: &HeaderMap) -> Result<Credentials, Error> {
    let bytes = to_bytes(body, MOST_BYTES).await;
    let bytes =
        bytes.map_err(|_| Error::invalid(format!("the body cannot be read, or is longer than {MOST_BYTES} bytes")))?;
    if !form {
        if !content_type(headers).is_some_and(|t| t.starts_with("application/json")) {
            let message = "send JSON or a form, with its Content-Type";
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
        }
        // What serde says could quote the secret: only the place is told.
        return serde_json::from_slice(&bytes).map_err(|e| {
            let place = format!("line {}, column {}", e.line(), e.column());
            Error::invalid(format!("access_key_id and secret_access_key are needed as JSON texts ({place})"))
        });
    }
    let (mut id, mut secret) = (None, None);
    for (name, value) in url::form_urlencoded::parse(&bytes) {
        match name.as_ref() {
            "access_key_id" => id = Some(value.into_owned()),
            "secret_access_key" => secret = Some(value.into_owned()),
            _ => {}
        }
    }
    match (id, secret) {
        (Some(access_key_id), Some(secret_access_key)) => Ok(Credentials { access_key_id, secret_access_key }),
        _ => Err(Error::invalid("access_key_id and secret_access_key are needed")),
    }
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok())
}

/// The `Set-Cookie` value; `Secure` where there is TLS, here or, as the browser says, at a proxy in front.
fn set_cookie(value: &str, max_age_s: i64, tls: bool, headers: &HeaderMap) -> HeaderValue {
    let tls = tls || headers.get(header::ORIGIN).is_some_and(|v| v.as_bytes().starts_with(b"https://"));
    let secure = if tls { "; Secure" } else { "" };
    let text = format!("{COOKIE}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&text).expect("base64url and digits are header text")
}

/// Who is signed in.
pub(crate) async fn who(caller: Caller) -> Result<Json<Value>, Error> {
    caller.server()?;
    Ok(Json(json!({"access_key_id": caller.shared.auth.access_key_id})))
}

/// Ends the session of the request, on every device that holds its cookie.
pub(crate) async fn sign_out(caller: Caller, headers: HeaderMap) -> Result<Response, Error> {
    caller.server()?;
    if let Principal::Root(Some(session)) = caller.principal {
        let written = caller.shared.auth.revoked.revoke(caller.shared.door.settings(), &session, caller.now()).await;
        // It has ended here even where that could not be written down.
        whep::close_ended(&caller).await?;
        written?;
        tracing::info!("signed out");
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set_cookie("", 0, caller.around.secure, &headers))])
        .into_response())
}
