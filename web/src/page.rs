//! The page: files of `web/ui/dist` embedded in the binary, the sign-in page, and the headers that keep a page safe.

use crate::{auth::Caller, aws, body::immutable, error::Error};
use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rust_embed::{EmbeddedFile, RustEmbed};
use sha2::{Digest, Sha256};

#[derive(RustEmbed)]
#[folder = "ui/dist"]
struct Dist;

/// What the page may do: everything from here, pictures and media also out of memory.
const PAGE_CSP: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; worker-src 'self'; \
    style-src 'self'; script-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

/// What any other answer may do when a browser shows it: nothing.
const NO_CSP: &str = "default-src 'none'; frame-ancestors 'none'";

/// The sign-in page with its policy.
pub(crate) struct Page {
    sign_in: String,
    sign_in_csp: HeaderValue,
}

impl Page {
    /// With `trust`, a link to the certificate of this server's own authority.
    pub(crate) fn open(trust: bool) -> Self {
        let built = Dist::get("sign-in.html").and_then(|file| String::from_utf8(file.data.into_owned()).ok());
        let sign_in = built.unwrap_or_else(|| include_str!("sign-in.html").to_owned());
        let link = "<p>Does this device not trust the server yet? Install <a href=\"/ca.pem\" download>the certificate of its authority</a>.</p>";
        let sign_in = sign_in.replace("<!--trust-->", if trust { link } else { "" });
        // Its own styles are the only inline text allowed, each by its hash.
        let hashes: String = styles(&sign_in)
            .map(|style| format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(style.as_bytes()))))
            .collect();
        let csp = format!(
            "default-src 'none'; style-src{}; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            if hashes.is_empty() { " 'none'" } else { &hashes }
        );
        let sign_in_csp = HeaderValue::from_str(&csp).expect("base64 and ASCII words are header text");
        Page { sign_in, sign_in_csp }
    }
}

/// The contents of the `<style>` elements of a page.
fn styles(html: &str) -> impl Iterator<Item = &str> {
    html.split("<style").skip(1).filter_map(|rest| {
        let (_, rest) = rest.split_once('>')?;
        rest.split_once("</style").map(|(style, _)| style)
    })
}

/// The sign-in page as the answer to a request without credentials, with a message after a failed sign-in.
pub(crate) fn sign_in(page: &Page, status: StatusCode, retry_after_s: Option<u64>, message: Option<&str>) -> Response {
    let mut html = page.sign_in.clone();
    if let Some(message) = message {
        let alert = format!("<p role=\"alert\">{}</p>", escaped(message));
        let marker = ["<!--message-->", "<!-- message -->", "</form>"].into_iter().find(|m| html.contains(m));
        match marker {
            Some("</form>") => html = html.replacen("</form>", &format!("{alert}</form>"), 1),
            Some(marker) => html = html.replacen(marker, &alert, 1),
            None => html.push_str(&alert),
        }
    }
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, page.sign_in_csp.clone()),
    ];
    let mut response = (status, headers, html).into_response();
    if let Some(seconds) = retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A file of the page, or 404: where everything ends up that no route names.
pub(crate) async fn asset(caller: Caller, method: Method, uri: Uri) -> Result<Response, Error> {
    // Only signatures name a region: an SDK asks for an operation that is not served, and is told so in its own form.
    if method == Method::POST && caller.around.region.is_some() {
        return Ok(aws::unknown_operation(uri.path()));
    }
    caller.server()?;
    let path = uri.path().strip_prefix('/').unwrap_or_default();
    let file = match path {
        "" => Dist::get("index.html"),
        path if path.starts_with("v1/") || path.starts_with("p/") || path.split('/').any(|part| part == "..") => None,
        path => Dist::get(path),
    };
    let file = file.ok_or_else(|| Error::not_found("there is nothing at this path"))?;
    if !matches!(method, Method::GET | Method::HEAD) {
        return Err(method_error());
    }
    Ok(answer(if path.is_empty() { "index.html" } else { path }, file))
}

fn answer(path: &str, file: EmbeddedFile) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(path)));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_CSP));
    let response = (headers, file.data.into_owned()).into_response();
    // Vite puts a hash of its content into the name of everything under assets/.
    if path.starts_with("assets/") { immutable(response) } else { response }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// 405 for a path of the table with a method that it does not name.
pub(crate) async fn wrong_method() -> Error {
    method_error()
}

fn method_error() -> Error {
    Error::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method")
}

/// Headers of every answer, where a handler set no others.
pub(crate) async fn safe_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let defaults = [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, NO_CSP),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Paths may hold playback tokens. Not `no-referrer`: forms would then send `Origin: null`.
        (header::REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn the_sign_in_page_allows_its_own_style_and_shows_messages_as_text() {
        let page = Page::open(false);
        let response = sign_in(&page, StatusCode::UNAUTHORIZED, None, Some("<script>alert(1)</script> & so on"));
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let csp = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(!csp.contains("unsafe-inline"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let html = std::str::from_utf8(&body).unwrap();
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; so on"));
        assert!(!html.contains("ca.pem"), "there is no authority of its own");
        let trusted = Page::open(true);
        assert!(
            trusted.sign_in.contains("<a href=\"/ca.pem\" download>"),
            "both the built page and the plain one have the place"
        );
        for style in styles(html) {
            assert!(csp.contains(&STANDARD.encode(Sha256::digest(style))), "each style is allowed");
        }
    }

    #[test]
    fn styles_are_found_whole() {
        let html = "<style>a{}</style><p><style media=print>\nb > i {}\n</style><style>unclosed";
        assert_eq!(styles(html).collect::<Vec<_>>(), ["a{}", "\nb > i {}\n"]);
    }
}
