//! Server-sent events: `GET /v1/events`. What the store notices, as it happens, to the page.
//!
//! Nothing is queued here: a stream reads the store's bounded channel as fast as its client takes it, and a client that
//! is too slow is told `resync`. A stream ends with the server, and when its session does.

use crate::{alerts, auth::Caller, error::Error, state::Shared};
use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use signaling::channel::ChannelId;
use std::{convert::Infallible, sync::Arc, time::Duration};
use store::Notice;
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        broadcast::{Receiver, error::RecvError},
    },
    time::{MissedTickBehavior, interval},
};

/// A comment is sent this often, so that both ends notice a dead connection; credentials are looked at again then.
const HEARTBEAT: Duration = Duration::from_secs(10);

struct Source {
    caller: Caller,
    notices: Receiver<Notice>,
    presence: Receiver<ChannelId>,
    heartbeat: tokio::time::Interval,
    greeted: bool,
    _permit: OwnedSemaphorePermit,
}

/// Opens an event stream.
pub(crate) async fn stream(caller: Caller) -> Result<Response, Error> {
    let notices = caller.server()?.store.notices();
    let permit = caller.shared.event_streams.clone().try_acquire_owned();
    let permit =
        permit.map_err(|_| Error::unavailable("too_many_event_streams", "too many event streams are open", 10))?;
    let presence = caller.shared.signaling.changes();
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let source = Source { caller, notices, presence, heartbeat, greeted: false, _permit: permit };
    let body = stream::unfold(source, |mut source| async move {
        source.next().await.map(|event| (Ok::<_, Infallible>(event), source))
    });
    // Proxies of the nginx family would collect the stream otherwise.
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, Body::from_stream(body)).into_response())
}

impl Source {
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Bytes::from_static(b"retry: 2000\n\n"));
        }
        let shared: Arc<Shared> = self.caller.shared.clone();
        loop {
            let noticed = tokio::select! {
                () = shared.stop.cancelled() => return None,
                noticed = self.notices.recv() => noticed,
                changed = self.presence.recv() => match changed {
                    Ok(channel) => {
                        let name = channel.0.rsplit_once('/').map_or(&*channel.0, |(name, _)| name);
                        return Some(event("presence", &json!({"channel": name})));
                    }
                    Err(RecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
                    Err(RecvError::Closed) => return None,
                },
                _ = self.heartbeat.tick() => {
                    let holds = shared.auth.holds(&self.caller.principal, shared.door.now()).await;
                    return holds.then(|| Bytes::from_static(b": still here\n\n"));
                }
            };
            let (name, data) = match noticed {
                Ok(notice) => match self.describe(notice).await {
                    Some(event) => event,
                    None => continue,
                },
                Err(RecvError::Lagged(missed)) => ("resync", json!({"missed": missed})),
                Err(RecvError::Closed) => return None,
            };
            return Some(event(name, &data));
        }
    }

    async fn describe(&self, notice: Notice) -> Option<(&'static str, Value)> {
        Some(match notice {
            Notice::Persisted(stream, meta) => {
                let crc32c = (!meta.encrypted).then_some(meta.crc32c);
                let fields = json!({
                    "stream": stream, "number": meta.number, "producer_start": meta.producer_start,
                    "duration_ms": meta.duration_ms, "bytes": meta.bytes, "crc32c": crc32c,
                });
                ("fragment", fields)
            }
            Notice::Detections(stream, detections) => {
                ("detections", json!({"stream": stream, "detections": detections.as_slice()}))
            }
            Notice::Alert(alert) => {
                let shown = alerts::Shown::of((*alert).clone(), self.caller.server().ok()?).await.ok()?;
                ("alert", serde_json::to_value(shown).ok()?)
            }
            Notice::Cameras => ("cameras", json!({})),
            Notice::Rules => ("rules", json!({})),
            Notice::Targets => ("targets", json!({})),
            Notice::Deliveries => ("deliveries", json!({})),
            Notice::Streams => ("streams", json!({})),
            // What concerns the page comes as one of the others; keys and policies are nobody's to watch.
            Notice::Documents(_) => return None,
        })
    }
}

/// One event. JSON has no line break in it, so the data is one line.
fn event(name: &str, data: &Value) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_event_is_one_line_of_json_whatever_is_in_it() {
        let text = event("alert", &json!({"class": "a\nevent: forged\n\n"}));
        assert_eq!(&text[..], b"event: alert\ndata: {\"class\":\"a\\nevent: forged\\n\\n\"}\n\n");
    }
}
