//! The table of routes. The router, what is open without credentials, the tests of authorisation and the check of
//! `docs/api.md` all come from it.

use crate::{
    admin, alerts,
    auth::{
        self,
        access::{Action, Principal},
        devices::credentials,
        session,
    },
    aws, cameras,
    error::Error,
    events, health, hls, holds, ice_test, page, rules,
    state::Shared,
    streams, targets, trust, whep, whip,
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{Method, StatusCode, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, delete, get, patch, post},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The most bytes of a request body.
const BODY_BYTES: usize = 64 << 10;
/// A handler has so long to answer; bodies of answers may take longer.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(30);

/// One operation.
pub(crate) struct Route {
    method: Method,
    path: &'static str,
    action: Action,
    handler: fn() -> MethodRouter<Arc<Shared>>,
    /// Its name in the AWS surface; `None` for the native API.
    operation: Option<&'static str>,
    /// Whether its body is media that comes as long as it likes: never buffered to be hashed, nor bounded.
    streams: bool,
}

/// An operation of the native API.
pub(crate) const fn route(
    method: Method,
    path: &'static str,
    action: Action,
    handler: fn() -> MethodRouter<Arc<Shared>>,
) -> Route {
    Route { method, path, action, handler, operation: None, streams: false }
}

/// An operation of the AWS surface: always a POST.
pub(crate) const fn operation(
    name: &'static str,
    path: &'static str,
    action: Action,
    handler: fn() -> MethodRouter<Arc<Shared>>,
) -> Route {
    Route { method: Method::POST, path, action, handler, operation: Some(name), streams: false }
}

impl Route {
    /// The same, with a body of media.
    pub(crate) const fn streaming(mut self) -> Route {
        self.streams = true;
        self
    }
}

/// Playing by HLS.
const PLAY: Action = Action::play("kinesisvideo:GetHLSStreamingSessionURL");

/// Every operation of the native API. A new one goes here and into `docs/api.md`; a test compares. Where the cloud has the same,
/// policies know it by the cloud's name.
const ROUTES: &[Route] = &[
    route(Method::GET, "/healthz", Action::PUBLIC, || get(health::live)),
    route(Method::GET, "/readyz", Action::PUBLIC, || get(health::ready)),
    route(Method::GET, "/ca.pem", Action::PUBLIC, || get(trust::authority)),
    route(Method::GET, "/metrics", Action::named("vidicon:ReadMetrics"), || get(health::metrics)),
    route(Method::POST, "/v1/session", Action::PUBLIC, || post(session::sign_in)),
    route(Method::GET, "/v1/session", Action::PAGE, || get(session::who)),
    route(Method::DELETE, "/v1/session", Action::PAGE, || delete(session::sign_out)),
    route(Method::GET, "/v1/server", Action::named("vidicon:DescribeServer"), || get(health::server)),
    route(Method::POST, "/v1/ice-test", Action::named("vidicon:TestConnectivity"), || post(ice_test::servers)),
    route(Method::GET, "/v1/cameras", Action::named("vidicon:ListCameras"), || get(cameras::list)),
    route(Method::POST, "/v1/cameras", Action::named("vidicon:CreateCamera"), || post(cameras::create)),
    route(Method::POST, "/v1/cameras/probe", Action::named("vidicon:ProbeCamera"), || post(cameras::probe)),
    route(Method::GET, "/v1/cameras/{name}", Action::named("vidicon:DescribeCamera"), || get(cameras::read)),
    route(Method::PATCH, "/v1/cameras/{name}", Action::named("vidicon:UpdateCamera"), || patch(cameras::change)),
    route(Method::DELETE, "/v1/cameras/{name}", Action::named("vidicon:DeleteCamera"), || delete(cameras::remove)),
    route(Method::GET, "/v1/streams", Action::named("kinesisvideo:ListStreams"), || get(streams::list)),
    route(Method::GET, "/v1/storage", Action::named("vidicon:DescribeStorage"), || get(streams::storage)),
    route(Method::PATCH, "/v1/streams/{name}", Action::named("vidicon:UpdateStream"), || patch(streams::change)),
    route(Method::DELETE, "/v1/streams/{name}", Action::named("kinesisvideo:DeleteStream"), || delete(streams::remove)),
    route(Method::GET, "/v1/streams/{name}/timeline", Action::named("kinesisvideo:ListFragments"), || {
        get(streams::timeline)
    }),
    route(Method::GET, "/v1/streams/{name}/fragments", Action::named("kinesisvideo:ListFragments"), || {
        get(streams::fragments)
    }),
    route(Method::DELETE, "/v1/streams/{name}/fragments", Action::named("vidicon:DeleteFragments"), || {
        delete(streams::remove_range)
    }),
    route(
        Method::GET,
        "/v1/streams/{name}/fragments/{number}",
        Action::named("kinesisvideo:GetMediaForFragmentList"),
        || get(streams::fragment),
    ),
    route(Method::GET, "/v1/streams/{name}/detections", Action::named("vidicon:ListDetections"), || {
        get(streams::detections)
    }),
    route(Method::GET, "/v1/streams/{name}/hls/{file}", PLAY, || get(hls::of_stream)),
    route(Method::POST, "/v1/streams/{name}/playback", Action::named("kinesisvideo:GetHLSStreamingSessionURL"), || {
        post(hls::playback)
    }),
    route(Method::GET, "/p/{token}/{file}", PLAY, || get(hls::of_token)),
    route(Method::POST, "/v1/streams/{name}/whep", Action::named("vidicon:WatchStream"), || post(whep::play)),
    route(Method::DELETE, "/v1/whep/{id}", Action::named("vidicon:CloseViewer"), || delete(whep::close)),
    route(Method::POST, "/v1/streams/{name}/whip", Action::named("kinesisvideo:PutMedia"), || post(whip::publish)),
    route(Method::DELETE, "/v1/whip/{id}", Action::named("vidicon:ClosePublisher"), || delete(whip::close)),
    route(Method::GET, "/v1/alerts", Action::named("vidicon:ListAlerts"), || get(alerts::list)),
    route(Method::GET, "/v1/alerts/{id}", Action::named("vidicon:DescribeAlert"), || get(alerts::read)),
    route(Method::GET, "/v1/alerts/{id}/snapshot.jpg", Action::named("vidicon:GetAlertSnapshot"), || {
        get(alerts::snapshot)
    }),
    route(Method::GET, "/v1/rules", Action::named("vidicon:ListRules"), || get(rules::list)),
    route(Method::POST, "/v1/rules", Action::named("vidicon:PutRule"), || post(rules::put)),
    route(Method::DELETE, "/v1/rules/{name}", Action::named("vidicon:DeleteRule"), || delete(rules::remove)),
    route(Method::GET, "/v1/targets", Action::named("vidicon:ListTargets"), || get(targets::list)),
    route(Method::POST, "/v1/targets", Action::named("vidicon:PutTarget"), || post(targets::put)),
    route(Method::DELETE, "/v1/targets/{name}", Action::named("vidicon:DeleteTarget"), || delete(targets::remove)),
    route(Method::GET, "/v1/deliveries", Action::named("vidicon:ListDeliveries"), || get(alerts::deliveries)),
    route(Method::POST, "/v1/deliveries/{id}/redrive", Action::named("vidicon:RedriveDelivery"), || {
        post(alerts::redrive)
    }),
    route(Method::GET, "/v1/events", Action::named("vidicon:ReadEvents"), || get(events::stream)),
    // By the client's certificate, whatever other credentials there are.
    route(Method::GET, "/role-aliases/{alias}/credentials", Action::named("iot:AssumeRoleWithCertificate"), || {
        get(credentials::get)
    }),
    // The page, and STS, which looks at actions of its own.
    route(Method::GET, "/", Action::PAGE, || get(aws::sts::get)),
    operation("STS", "/", Action::named("sts:GetCallerIdentity"), || post(aws::sts::post)),
];

/// Every operation, of the native API and of the AWS surface.
fn table() -> impl Iterator<Item = &'static Route> {
    ROUTES
        .iter()
        .chain(admin::rest::ROUTES)
        .chain(admin::device_rest::ROUTES)
        .chain(holds::ROUTES)
        .chain(auth::oidc::rest::ROUTES)
        .chain(aws::ROUTES.iter().copied().flatten())
}

/// Every operation as (method, path): what `docs/api.md` must name and what tests of authorisation try.
pub fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
    table().map(|r| (r.method.as_str(), r.path))
}

/// Every operation as (method, path, action), the action as policies name it; without those that are open to all.
pub fn actions() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    table().filter(|r| !r.action.is_public()).map(|r| (r.method.as_str(), r.path, r.action.name()))
}

/// The operation at a path without parameters: what authentication has to know before the router is asked.
fn plain(method: &Method, path: &str) -> Option<&'static Route> {
    table().find(|r| r.path == path && (r.method == method || head_of(&r.method, method)))
}

/// Whether an operation is open without looking at credentials.
pub(crate) fn is_public(method: &Method, path: &str) -> bool {
    plain(method, path).is_some_and(|r| r.action.is_public())
}

/// Whether a request may come without credentials, and is told whose they are where there are some: STS, where someone else vouches for
/// who asks, and role aliases, where a certificate does.
pub(crate) fn is_optional(parts: &Parts) -> bool {
    if credentials::is_asked(&parts.method, parts.uri.path()) {
        return true;
    }
    aws::sts::is_asked(&parts.method, &parts.uri, &parts.headers)
}

/// Whether a request is for an operation of the AWS surface.
pub(crate) fn is_operation(method: &Method, path: &str) -> bool {
    plain(method, path).is_some_and(|r| r.operation.is_some())
}

/// Whether the body of a request is media that comes as long as it likes.
pub(crate) fn streams_body(method: &Method, path: &str) -> bool {
    plain(method, path).is_some_and(|r| r.streams)
}

fn head_of(route: &Method, asked: &Method) -> bool {
    route == Method::GET && asked == Method::HEAD
}

/// The playback token in a path of the form `/p/{token}/…`.
pub(crate) fn path_token(path: &str) -> Option<&str> {
    path.strip_prefix("/p/").map(|rest| rest.split_once('/').map_or(rest, |(token, _)| token))
}

/// The router over the table, with authentication around all of it.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let router = table().fold(Router::new(), |router, route| {
        let shared = shared.clone();
        let around = middleware::from_fn(move |request: Request, next: Next| {
            let shared = shared.clone();
            async move { guarded(route, &shared, request, next).await }
        });
        let handler = match (route.streams, route.operation) {
            (true, _) => (route.handler)().route_layer(DefaultBodyLimit::disable()),
            (false, Some(_)) => (route.handler)().route_layer(DefaultBodyLimit::max(aws::BODY_BYTES)),
            (false, None) => (route.handler)(),
        };
        router.route(route.path, handler.route_layer(around))
    });
    router
        .method_not_allowed_fallback(page::wrong_method)
        .fallback(page::asset)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(shared.clone(), auth::authenticate))
        .layer(middleware::map_response(page::safe_headers))
        .with_state(shared)
}

/// Runs around each handler: tells it its action, limits its time, counts it.
async fn guarded(route: &'static Route, shared: &Shared, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    request.extensions_mut().insert(route.action);
    let id = aws::RequestId::new();
    request.extensions_mut().insert(id);
    let counted = route.operation.filter(|_| !route.streams).and_then(|operation| {
        let principal = request.extensions().get::<Principal>()?;
        Some((operation, principal.holder()))
    });
    let limited = counted.as_ref().and_then(|(operation, holder)| {
        let now = shared.door.now();
        shared.aws.called(operation, holder, now).err()
    });
    let is_limited = limited.is_some();
    let response = match limited {
        Some(error) => error.into_response(),
        None => match tokio::time::timeout(HANDLER_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Error::unavailable("timeout", "the server did not answer in time", 5).into_response(),
        },
    };
    if let Some((operation, holder)) = counted.filter(|_| !is_limited && response.status() == StatusCode::FORBIDDEN) {
        shared.aws.denied(operation, &holder, shared.door.now());
    }
    let response = match route.operation {
        Some(_) => aws::dress(response, id),
        None => response,
    };
    let (status, took) = (response.status().as_u16(), began.elapsed());
    // The path of the table, never the one that was asked: that may hold a token.
    tracing::debug!(method = %route.method, path = route.path, status, took_ms = took.as_millis() as u64, "answered");
    let class = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"][usize::from(status / 100).min(5)];
    let (method, path) = (route.method.as_str().to_owned(), route.path);
    metrics::counter!("vidicon_http_requests_total", "method" => method, "route" => path, "status" => class)
        .increment(1);
    metrics::histogram!("vidicon_http_answer_seconds", "route" => path).record(took.as_secs_f64());
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_operation_stands_once_and_only_health_and_sign_in_are_open() {
        let all: HashSet<_> = described().collect();
        assert_eq!(all.len(), table().count());
        let open: Vec<_> = table().filter(|r| r.action.is_public()).map(|r| (r.method.as_str(), r.path)).collect();
        assert_eq!(open, [("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/ca.pem"), ("POST", "/v1/session")]);
        assert!(is_public(&Method::HEAD, "/healthz") && !is_public(&Method::GET, "/v1/session"));
        assert!(!is_public(&Method::GET, "/healthz/") && !is_public(&Method::GET, "/%68ealthz"));
    }

    #[test]
    fn the_token_of_a_path() {
        assert_eq!(path_token("/p/abc/index.m3u8"), Some("abc"));
        assert_eq!(path_token("/p/abc"), Some("abc"));
        assert_eq!(path_token("/p/"), Some(""));
        assert_eq!(path_token("/playback"), None);
        assert_eq!(path_token("//p/abc/x"), None);
    }

    #[test]
    fn the_reference_names_every_operation() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
        let text = std::fs::read_to_string(path).expect("docs/api.md is part of the repository");
        let missing: Vec<_> = described().filter(|(m, p)| !text.contains(&format!("`{m} {p}`"))).collect();
        assert!(missing.is_empty(), "docs/api.md does not name {missing:?}");
    }
}
