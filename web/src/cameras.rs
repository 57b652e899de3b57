//! Cameras: `GET/POST /v1/cameras`, `GET/PATCH/DELETE /v1/cameras/{name}`, `POST /v1/cameras/probe`.

use crate::{
    App,
    auth::Caller,
    error::Error,
    extract::{Body, Params},
};
use axum::{Json, http::StatusCode};
use ingest::{CameraState, Failure, Probe};
use media::{StreamName, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{
    StreamStats,
    records::{Camera, Secret, Transport},
};
use url::Url;

/// A camera as the API shows it: no password, also none that stands in the URL.
#[derive(Serialize)]
pub(crate) struct Shown {
    name: StreamName,
    url: String,
    username: Option<String>,
    has_password: bool,
    transport: Transport,
    enabled: bool,
    from_config: bool,
    status: CameraState,
    bitrate_bps: u64,
    fps: f64,
    key_interval_ms: Option<u32>,
    description: Option<String>,
    has_b_frames: bool,
    reconnects: u64,
    dropped_gops: u64,
    last_commit_at: Option<UnixMillis>,
}

impl Shown {
    fn of(camera: Camera, app: &App) -> Self {
        let status = match app.cameras.state(&camera.stream) {
            Some(state) => state,
            None if camera.enabled => CameraState::Connecting { since: app.store.now() },
            None => CameraState::Disabled,
        };
        let (url, inside_name, inside_password) = shown_url(&camera.url);
        let stats: StreamStats = app.store.stream(&camera.stream).map(|s| s.stats()).unwrap_or_default();
        Shown {
            reconnects: app.cameras.reconnects(&camera.stream),
            has_password: camera.password.is_some() || inside_password,
            name: camera.stream,
            url,
            username: camera.username.or(inside_name),
            transport: camera.transport,
            enabled: camera.enabled,
            from_config: camera.from_config,
            status,
            bitrate_bps: stats.bitrate_bps,
            fps: stats.fps,
            key_interval_ms: stats.key_interval_ms,
            description: stats.description,
            has_b_frames: stats.has_b_frames,
            dropped_gops: stats.dropped_gops,
            last_commit_at: stats.last_commit_at,
        }
    }
}

/// A URL as it may be shown, the user name that was in it, and whether a password was. The configuration file may put
/// credentials into a URL, and anything into the text of a pipeline.
fn shown_url(url: &str) -> (String, Option<String>, bool) {
    match Url::parse(url) {
        Ok(mut url) if url.scheme() != "gst" && url.has_host() => {
            let name = Some(url.username()).filter(|u| !u.is_empty()).map(decoded);
            let password = url.password().is_some();
            match url.set_username("").and_then(|()| url.set_password(None)) {
                Ok(()) => (url.into(), name, password),
                Err(()) => (format!("{}:…", url.scheme()), name, password),
            }
        }
        Ok(url) => (format!("{}:…", url.scheme()), None, false),
        // Nothing is known of its parts.
        Err(_) if url.starts_with("gst:") => ("gst:…".to_owned(), None, false),
        Err(_) => ("…".to_owned(), None, false),
    }
}

/// A camera as the API takes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    name: StreamName,
    url: String,
    username: Option<String>,
    password: Option<Secret>,
    #[serde(default)]
    transport: Transport,
}

/// Where a probe looks; a name is not needed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Probed {
    url: String,
    username: Option<String>,
    password: Option<Secret>,
    #[serde(default)]
    transport: Transport,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    enabled: bool,
}

/// A camera out of checked input. Credentials in the URL are taken out of it, so that it can be shown.
fn checked(given: New) -> Result<Camera, Error> {
    let New { name: stream, url, username, password, transport } = given;
    if url.len() > 2048 {
        return Err(Error::invalid("url: longer than 2048 characters"));
    }
    if url.starts_with("gst:") {
        return Err(Error::invalid(
            "url: GStreamer pipelines can only stand in the configuration file, because they can run programs",
        ));
    }
    // What the parser says never quotes the text, which may hold a password.
    let mut url = Url::parse(url.trim()).map_err(|e| Error::invalid(format!("url: not a URL: {e}")))?;
    if url.scheme() != "rtsp" {
        return Err(Error::invalid(format!("url: the scheme must be rtsp, not {}", url.scheme())));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Error::invalid("url: a host is missing"));
    }
    let inside = [Some(url.username()).filter(|u| !u.is_empty()), url.password()].map(|part| part.map(decoded));
    let (inside_name, inside_password) = inside.into();
    if inside_name.is_some() && username.as_ref().is_some_and(|u| Some(u) != inside_name.as_ref()) {
        return Err(Error::invalid("username: the url names another one"));
    }
    url.set_username("")
        .and_then(|()| url.set_password(None))
        .map_err(|()| Error::invalid("url: a host is missing"))?;
    let username = username.or(inside_name).filter(|u| !u.is_empty());
    let password = password.or(inside_password.map(Secret)).filter(|p| !p.0.is_empty());
    if username.is_none() && password.is_some() {
        return Err(Error::invalid("username: needed where there is a password"));
    }
    for (field, text) in [("username", username.as_deref()), ("password", password.as_ref().map(|p| p.0.as_str()))] {
        if text.is_some_and(|t| t.len() > 256 || t.chars().any(char::is_control)) {
            return Err(Error::invalid(format!("{field}: at most 256 characters, none of them control characters")));
        }
    }
    Ok(Camera { stream, url: url.into(), username, password, transport, enabled: true, from_config: false })
}

/// Percent-decoded; what is no UTF-8 is kept as it stands.
fn decoded(text: &str) -> String {
    // A form's rules differ in '+' alone.
    let pair = format!("={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes()).next().map_or_else(|| text.to_owned(), |(_, value)| value.into_owned())
}

async fn find(app: &App, name: &str) -> Result<Camera, Error> {
    let cameras = app.store.cameras().await?;
    cameras
        .into_iter()
        .find(|c| c.stream.as_str() == name)
        .ok_or_else(|| Error::not_found("there is no camera of this name"))
}

fn changeable(camera: &Camera) -> Result<(), Error> {
    match camera.from_config {
        true => Err(Error::conflict(
            "from_config",
            format!("camera {} stands in the configuration file: change it there", camera.stream),
        )),
        false => Ok(()),
    }
}

/// All cameras by name.
pub(crate) async fn list(caller: Caller) -> Result<Json<Value>, Error> {
    let app = caller.server()?;
    let mut cameras = app.store.cameras().await?;
    cameras.sort_by(|a, b| a.stream.cmp(&b.stream));
    let cameras: Vec<_> = cameras.into_iter().map(|c| Shown::of(c, app)).collect();
    Ok(Json(json!({"cameras": cameras})))
}

/// One camera.
pub(crate) async fn read(caller: Caller, Params(name): Params<String>) -> Result<Json<Shown>, Error> {
    let app = caller.server()?;
    Ok(Json(Shown::of(find(app, &name).await?, app)))
}

/// Adds a camera and its stream.
pub(crate) async fn create(caller: Caller, Body(new): Body<New>) -> Result<(StatusCode, Json<Shown>), Error> {
    let app = caller.server()?;
    let camera = checked(new)?;
    let _one_at_a_time = caller.shared.edits.acquire().await.expect("the semaphore is never closed");
    if find(app, camera.stream.as_str()).await.is_ok() {
        return Err(Error::conflict("already_exists", format!("a camera of the name {} exists", camera.stream)));
    }
    app.store.put_camera(camera.clone()).await?;
    tracing::info!(stream = %camera.stream, "camera added");
    Ok((StatusCode::CREATED, Json(Shown::of(camera, app))))
}

/// Enables or disables a camera.
pub(crate) async fn change(
    caller: Caller,
    Params(name): Params<String>,
    Body(change): Body<Change>,
) -> Result<Json<Shown>, Error> {
    let app = caller.server()?;
    let _one_at_a_time = caller.shared.edits.acquire().await.expect("the semaphore is never closed");
    let mut camera = find(app, &name).await?;
    changeable(&camera)?;
    if camera.enabled != change.enabled {
        camera.enabled = change.enabled;
        app.store.put_camera(camera.clone()).await?;
        tracing::info!(stream = %camera.stream, enabled = camera.enabled, "camera changed");
    }
    Ok(Json(Shown::of(camera, app)))
}

/// Removes a camera; its stream and recordings stay.
pub(crate) async fn remove(caller: Caller, Params(name): Params<String>) -> Result<StatusCode, Error> {
    let app = caller.server()?;
    let _one_at_a_time = caller.shared.edits.acquire().await.expect("the semaphore is never closed");
    let camera = find(app, &name).await?;
    changeable(&camera)?;
    app.store.delete_camera(&camera.stream).await?;
    tracing::info!(stream = %camera.stream, "camera removed");
    Ok(StatusCode::NO_CONTENT)
}

/// What a probe answers: what was found, or why nothing was.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Found(Probe),
    Failure(Failure),
}

/// Looks at a camera without adding it.
pub(crate) async fn probe(caller: Caller, Body(asked): Body<Probed>) -> Result<Json<Outcome>, Error> {
    let app = caller.server()?;
    let Probed { url, username, password, transport } = asked;
    let name = "probe".parse().expect("letters make a name");
    let camera = checked(New { name, url, username, password, transport })?;
    let _room = caller
        .shared
        .probes
        .try_acquire()
        .map_err(|_| Error::unavailable("busy", "too many probes are under way", 5))?;
    Ok(Json(match app.cameras.probe(&camera).await {
        Ok(found) => Outcome::Found(found),
        Err(failure) => Outcome::Failure(failure),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn given(url: &str, username: Option<&str>, password: Option<&str>) -> Result<Camera, String> {
        let new = New {
            name: "gate".parse().unwrap(),
            url: url.into(),
            username: username.map(Into::into),
            password: password.map(|p| Secret(p.into())),
            transport: Transport::Tcp,
        };
        checked(new).map_err(|e| e.message)
    }

    #[test]
    fn credentials_leave_the_url() {
        let camera = given("rtsp://admin:p%40s%2Bs+&x@192.0.2.7:8554/main?profile=1", None, None).unwrap();
        assert_eq!(camera.url, "rtsp://192.0.2.7:8554/main?profile=1");
        assert_eq!(camera.username.as_deref(), Some("admin"));
        assert_eq!(camera.password, Some(Secret("p@s+s+&x".into())));
        let camera = given("rtsp://cam.local/", Some("viewer"), Some("pw")).unwrap();
        assert_eq!((camera.username.as_deref(), camera.password), (Some("viewer"), Some(Secret("pw".into()))));
    }

    #[test]
    fn urls_are_shown_without_their_secrets() {
        let shown = |url| {
            let (url, name, password) = shown_url(url);
            (url, name.unwrap_or_default(), password)
        };
        let hidden = |url: &str| (url.to_owned(), String::new(), false);
        let expected = ("rtsp://h:8554/a?b=1".to_owned(), "ad@min".to_owned(), true);
        assert_eq!(shown("rtsp://ad%40min:canary@h:8554/a?b=1"), expected);
        assert_eq!(shown("rtsp+gst://u:canary@h/"), ("rtsp+gst://h/".to_owned(), "u".to_owned(), true));
        assert_eq!(shown("rtsp://h/a"), hidden("rtsp://h/a"));
        for pipeline in
            ["gst:rtspsrc location=rtsp://u:canary@h user-pw=canary ! x", "gst://u:canary@h/", "GST: canary"]
        {
            assert_eq!(shown(pipeline), hidden("gst:…"), "{pipeline}");
        }
        assert_eq!(shown("rtsp://u:canary@[x"), hidden("…"));
        assert_eq!(shown("rtsp:canary"), hidden("rtsp:…"));
    }

    #[test]
    fn refusals_name_the_field_and_hide_the_password() {
        let refused = |url: &str, username, password| given(url, username, password).unwrap_err();
        assert!(refused("rtsp://admin:hunter2@", None, None).starts_with("url:"));
        assert!(!refused("rtsp://admin:hunter2@[x", None, None).contains("hunter2"));
        assert!(refused("http://cam/", None, None).contains("rtsp"));
        assert!(refused("gst:filesrc location=/etc/shadow", None, None).contains("configuration file"));
        assert!(refused("file:///etc/passwd", None, None).contains("scheme"));
        assert!(refused("rtsp://a@cam/", Some("b"), None).starts_with("username:"));
        assert!(refused("rtsp://cam/", None, Some("pw")).starts_with("username:"));
        assert!(refused("rtsp://cam/", Some("a"), Some("p\r\nx")).starts_with("password:"));
    }
}
