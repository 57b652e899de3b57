//! PutMedia: `POST /putMedia`, an endless body of Matroska and an endless answer of acknowledgements beside it.
//!
//! What belongs here: headers of the request, the head of the answer, and how the two bodies share a connection of HTTP.
//! What does not: what the bytes mean (`ingest::putmedia`). The wire is that of REFERENCE §2.1, §2.2 and §2.5.

use super::{Error, Target, ack_body::AckBody, records::StreamRecord};
use crate::{
    auth::{Caller, access::Action, instant},
    direct_body::DirectBody,
    routes::{Route, operation},
    seat::Seat,
};
use axum::{
    body::{Body, BodyDataStream},
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt, TryStreamExt,
    future::{BoxFuture, poll_immediate},
    stream,
};
use ingest::putmedia::{self, Session, Timecode, Topics};
use media::{FragmentNumber, StreamName, UnixMillis};
use std::{collections::BTreeMap, io, sync::Arc, time::Duration};
use store::{Kind, Store, notifications::Notify};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Its place in the table.
pub(crate) const ROUTES: &[Route] =
    &[operation("PutMedia", "/putMedia", Action::named("kinesisvideo:PutMedia"), || post(put_media)).streaming()];

/// The agent of the C SDK, which prints milliseconds without padding: `.5` is 5 ms there.
const UNPADDED: &str = "AWS-SDK-KVS";
/// The last instant that a start may name: the year 9999.
const LAST_MS: f64 = 253_402_300_799_999.0;
/// Whether the credentials of a session still hold is looked at so often.
const HOLDS_EVERY: Duration = Duration::from_secs(5);
/// A session may outlive its credentials by so much, in ms: a producer ends it when they expire, between two fragments.
const GRACE_MS: i64 = 60_000;

async fn put_media(caller: Caller, request: Request) -> Result<Response, Error> {
    let (mut parts, body) = request.into_parts();
    let (target, wanted) = asked(&parts.headers)?;
    let granted = target.resolve(&caller).await?;
    let (stream, info) = (granted.whole()?, granted.info());
    stream.check_quota()?;
    let shared = caller.shared.clone();
    let permit = shared.put_media.permit(&caller.principal, granted.id())?;
    // The address behind it may be that of a site with hundreds of cameras.
    let away = parts.extensions.get::<Seat>().map(Seat::leave);
    let direct = DirectBody::take(&mut parts, &shared.tasks);
    let mut body = body.into_data_stream();
    let first = if parts.headers.contains_key(header::EXPECT) { go_on(&mut body).await } else { None };
    let body = match direct {
        Some(direct) => direct.with(body).left_stream(),
        None => stream::iter(first).chain(body).map_err(io::Error::other).right_stream(),
    };
    let span = tracing::info_span!("put_media", stream = %info.name);
    let stop = shared.stop.child_token();
    let of = stream.clone();
    let (session, acks) = Session::new(stream, &shared.put_media.config, wanted, stop.clone());
    let session = session.telling(Arc::new(Configured {
        store: granted.app()?.store.clone(),
        name: info.name.clone(),
        id: info.id,
        arn: shared.aws.account.stream(&info).to_string(),
    }));
    let task = async move {
        tokio::select! {
            () = session.run(body) => {}
            () = end_with_credentials(&caller, &of, stop) => {}
        }
        drop((permit, away));
    };
    shared.tasks.spawn(task.instrument(span));
    let mut response = Body::new(AckBody::new(acks)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Stops the session when its credentials or what they allow are taken back, or have expired a while ago. Never returns.
async fn end_with_credentials(caller: &Caller, stream: &store::Stream, stop: CancellationToken) {
    loop {
        tokio::time::sleep(HOLDS_EVERY).await;
        let now = caller.shared.door.now().plus(-GRACE_MS);
        if !stop.is_cancelled() && !caller.still_reaches(stream, now).await {
            tracing::info!("the credentials of the session do not hold any more, or do not allow this");
            stop.cancel();
        }
    }
}

/// The notification configuration of a stream.
struct Configured {
    store: Store,
    name: StreamName,
    id: u64,
    arn: String,
}

impl Configured {
    async fn read(&self, payload: BTreeMap<String, String>) -> Result<Option<Arc<Notify>>, Error> {
        let record = StreamRecord::read(&self.store, self.id).await?;
        let Some(configuration) = record.notification.filter(|c| c.is_enabled()) else { return Ok(None) };
        let (to, uri) = (configuration.destination()?, configuration.destination_config.uri);
        Ok(Some(Arc::new(Notify { uri, to, stream_arn: self.arn.clone(), payload })))
    }
}

impl Topics for Configured {
    fn of(&self, payload: BTreeMap<String, String>) -> BoxFuture<'_, Option<Arc<Notify>>> {
        let read = async {
            // Media is worth more than word of it.
            self.read(payload).await.unwrap_or_else(|error| {
                tracing::error!(stream = %self.name, name = error.name, message = %error.message, "nobody is told of a fragment");
                None
            })
        };
        read.boxed()
    }
    fn again(&self, fragment: FragmentNumber, notify: Arc<Notify>) -> BoxFuture<'static, Result<(), store::Error>> {
        let (store, name) = (self.store.clone(), self.name.clone());
        let raise = async move {
            match store.raise_notification(&name, fragment, notify).await {
                // It has expired meanwhile, and with it what could be told.
                Err(error) if error.kind() == Kind::NotFound => Ok(()),
                other => other,
            }
        };
        raise.boxed()
    }
}

/// Has `100 Continue` sent, which libcurl waits a second for. hyper sends it when a body is first asked for, unless the
/// head of the answer was given before; so the body is asked for, and hyper gets two turns: to queue it, and to flush it.
async fn go_on(body: &mut BodyDataStream) -> Option<Result<Bytes, axum::Error>> {
    for _ in 0..2 {
        if let Some(first) = poll_immediate(body.next()).await {
            return first;
        }
        tokio::task::yield_now().await;
    }
    None
}

/// What the headers ask for.
fn asked(headers: &HeaderMap) -> Result<(Target, putmedia::Request), Error> {
    let text = |name: &'static str| -> Result<Option<&str>, Error> {
        let mut values = headers.get_all(name).iter();
        let value = values.next();
        if values.next().is_some() {
            return Err(Error::invalid(format!("{name} is given twice")));
        }
        value.map(|v| v.to_str().map_err(|_| Error::invalid(format!("{name} is not ASCII")))).transpose()
    };
    let (name, arn) = (text("x-amzn-stream-name")?, text("x-amzn-stream-arn")?);
    if name.is_some() == arn.is_some() {
        return Err(Error::invalid("exactly one of x-amzn-stream-name and x-amzn-stream-arn must be given"));
    }
    let target = Target { stream_name: name.map(str::to_owned), stream_arn: arn.map(str::to_owned) };
    let start = text("x-amzn-producer-start-timestamp")?;
    let timecode = match text("x-amzn-fragment-timecode-type")? {
        // The start is of no use there; what it says is not looked at.
        Some("ABSOLUTE") => Timecode::Absolute,
        Some("RELATIVE") => {
            let start = start
                .ok_or_else(|| Error::invalid("x-amzn-producer-start-timestamp is needed with RELATIVE time codes"))?;
            let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
            let start = start_timestamp(start, agent.starts_with(UNPADDED)).ok_or_else(|| {
                Error::constraint(
                    "x-amzn-producer-start-timestamp",
                    "Member must be seconds since 1970 with a fraction, or an instant of RFC 3339",
                )
            })?;
            Timecode::Relative(start)
        }
        Some(_) => {
            return Err(Error::constraint(
                "x-amzn-fragment-timecode-type",
                "Member must satisfy enum value set: [RELATIVE, ABSOLUTE]",
            ));
        }
        None => return Err(Error::constraint("x-amzn-fragment-timecode-type", "Member must not be null")),
    };
    let acks = text("x-amzn-fragment-acknowledgment-required")? != Some("0");
    Ok((target, putmedia::Request { timecode, acks }))
}

/// Reads `x-amzn-producer-start-timestamp` in each form that producers were seen to send: seconds with a fraction of three
/// digits, `0`, `1.795404896353E9`, RFC 3339; and with `unpadded`, seconds and then milliseconds without leading zeros.
fn start_timestamp(text: &str, unpadded: bool) -> Option<UnixMillis> {
    let text = text.trim();
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if digits(whole) && (fraction.is_empty() || digits(fraction)) {
        let seconds: i64 = whole.parse().ok().filter(|s| *s as f64 * 1000.0 <= LAST_MS)?;
        let millis: i64 = match fraction.len() {
            0 => 0,
            1 | 2 if unpadded => fraction.parse().ok()?,
            _ => format!("{fraction:0<3.3}").parse().ok()?,
        };
        return Some(UnixMillis(seconds * 1000 + millis));
    }
    if let Some(at) = instant::parse_rfc3339(text) {
        return Some(at).filter(|at| at.0 >= 0);
    }
    let seconds: f64 = text.parse().ok()?;
    let millis = (seconds * 1000.0).round();
    (0.0..=LAST_MS).contains(&millis).then_some(UnixMillis(millis as i64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn starts_in_each_form_that_producers_send() {
        let at = |text| start_timestamp(text, false).map(|at| at.0);
        let c_sdk = |text| start_timestamp(text, true).map(|at| at.0);
        assert_eq!(at("1795404896.353"), Some(1_795_404_896_353));
        assert_eq!(c_sdk("1795404896.353"), Some(1_795_404_896_353));
        assert_eq!((at("1795404896.5"), c_sdk("1795404896.5")), (Some(1_795_404_896_500), Some(1_795_404_896_005)));
        assert_eq!((at("1795404896.53"), c_sdk("1795404896.53")), (Some(1_795_404_896_530), Some(1_795_404_896_053)));
        assert_eq!((at("1795404896.0"), c_sdk("1795404896.0")), (Some(1_795_404_896_000), Some(1_795_404_896_000)));
        assert_eq!(at("1795404896.353999999"), Some(1_795_404_896_353));
        assert_eq!(
            (at("0"), at("1795404896"), at("1795404896.")),
            (Some(0), Some(1_795_404_896_000), Some(1_795_404_896_000))
        );
        assert_eq!(at("1.795404896353E9"), Some(1_795_404_896_353));
        assert_eq!(at("2026-11-23T06:01:21.042Z"), Some(1_795_413_681_042));
        assert_eq!(at(" 2026-11-23T07:01:21.042+01:00"), Some(1_795_413_681_042));
        for wrong in [
            "",
            "x",
            "-1",
            "NaN",
            "inf",
            "1e300",
            "99999999999999999999",
            "999999999999",
            "1969-12-31T00:00:00Z",
            "1.2.3",
            "1795404896,353",
        ] {
            assert_eq!((at(wrong), c_sdk(wrong)), (None, None), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_start_is_a_time_or_refused(text in "[ -~]{0,24}|[0-9]{0,20}\\.?[0-9]{0,20}", unpadded in proptest::prelude::any::<bool>()) {
            let read = start_timestamp(&text, unpadded);
            proptest::prop_assert!(read.is_none_or(|at| (0..=LAST_MS as i64 + 999).contains(&at.0)), "{:?}", read);
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn headers_say_which_stream_and_what_times_count_from() {
        const NAME: (&str, &str) = ("x-amzn-stream-name", "gate");
        const ARN: (&str, &str) = ("x-amzn-stream-arn", "arn:aws:kinesisvideo:us-west-2:123456789012:stream/gate/5");
        const ABSOLUTE: (&str, &str) = ("x-amzn-fragment-timecode-type", "ABSOLUTE");
        const RELATIVE: (&str, &str) = ("x-amzn-fragment-timecode-type", "RELATIVE");
        const START: (&str, &str) = ("x-amzn-producer-start-timestamp", "5.25");
        let ask = |pairs: &[_]| asked(&headers(pairs)).map_err(|e| (e.name, e.message));
        let (target, request) = ask(&[NAME, ABSOLUTE]).unwrap();
        assert_eq!((target.stream_name.as_deref(), target.stream_arn), (Some("gate"), None));
        assert_eq!(request, putmedia::Request { timecode: Timecode::Absolute, acks: true });
        let (target, request) = ask(&[ARN, RELATIVE, START, ("x-amzn-fragment-acknowledgment-required", "0")]).unwrap();
        assert_eq!((target.stream_name, target.stream_arn.as_deref()), (None, Some(ARN.1)));
        assert_eq!(request, putmedia::Request { timecode: Timecode::Relative(UnixMillis(5250)), acks: false });
        let c_sdk = ("user-agent", "AWS-SDK-KVS/3.3.1 GCC/12 Linux/6");
        let short = ("x-amzn-producer-start-timestamp", "5.2");
        assert_eq!(ask(&[NAME, RELATIVE, short, c_sdk]).unwrap().1.timecode, Timecode::Relative(UnixMillis(5002)));
        assert!(ask(&[NAME, ABSOLUTE, ("x-amzn-producer-start-timestamp", "yesterday")]).is_ok(), "not needed");
        for (wrong, part) in [
            (&[ABSOLUTE][..], "exactly one"),
            (&[NAME, ARN, ABSOLUTE], "exactly one"),
            (&[NAME, NAME, ABSOLUTE], "twice"),
            (&[NAME], "timecode-type' failed"),
            (&[NAME, ("x-amzn-fragment-timecode-type", "absolute")], "[RELATIVE, ABSOLUTE]"),
            (&[NAME, RELATIVE], "needed with RELATIVE"),
            (&[NAME, RELATIVE, ("x-amzn-producer-start-timestamp", "yesterday")], "start-timestamp' failed"),
        ] {
            let (name, message) = ask(wrong).unwrap_err();
            assert!(name == "InvalidArgumentException" && message.contains(part), "{message}");
        }
    }
}
