//! A stream and a page that shows it, for looking at WebRTC alone: no cameras, no sign-in.
//!
//! Reads H.264 (Annex B with access unit delimiters) in real time from standard input, writes it into a store in a
//! temporary folder, and serves a page on the given address (by default 127.0.0.1:8099):
//!
//! ```text
//! ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -c:v libx264 -tune zerolatency -bf 0 -g 60 \
//!     -x264-params aud=1 -f h264 - | cargo run -p vidicon-signaling --example whep
//! ```

use bytes::{Bytes, BytesMut};
use media::h264::{self, Avcc};
use media::{Event, Frame, Header, Start, Track, TrackKind, UnixMicros, UnixMillis};
use signaling::{Config, Peers};
use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;
use store::{Store, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const PAGE: &str = r#"<!doctype html><title>whep</title><video id=v autoplay muted playsinline style="width:100%"></video><script>
async function play() {
  const t0 = performance.now(), pc = new RTCPeerConnection(), v = document.getElementById('v');
  pc.addTransceiver('video', {direction: 'recvonly'}); pc.addTransceiver('audio', {direction: 'recvonly'});
  pc.ontrack = e => { if (e.track.kind === 'video') v.srcObject = new MediaStream([e.track]); };
  const shown = new Promise(done => v.requestVideoFrameCallback(() => done(performance.now() - t0)));
  await pc.setLocalDescription();
  const response = await fetch('/whep', {method: 'POST', body: pc.localDescription.sdp});
  if (!response.ok) throw new Error(await response.text());
  await pc.setRemoteDescription({type: 'answer', sdp: await response.text()});
  window.pc = pc; return shown;
}
if (!location.hash) play().then(ms => document.title = 'first picture after ' + Math.round(ms) + ' ms');
</script>"#;

fn now() -> UnixMicros {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMicros(since.as_micros() as i64)
}

/// Access units of standard input, each when the next one begins.
fn read_access_units(to: tokio::sync::mpsc::Sender<Bytes>) {
    const DELIMITER: [u8; 5] = [0, 0, 0, 1, 9];
    let (mut input, mut piece, mut held) = (std::io::stdin().lock(), vec![0; 1 << 16], BytesMut::new());
    while let Ok(length @ 1..) = input.read(&mut piece) {
        let mut from = held.len().saturating_sub(4).max(1);
        held.extend_from_slice(&piece[..length]);
        while let Some(at) = held.get(from..).and_then(|h| h.windows(5).position(|w| w == DELIMITER)) {
            if to.blocking_send(held.split_to(from + at).freeze()).is_err() {
                return;
            }
            from = 1;
        }
    }
}

fn header(units: &[Bytes]) -> Arc<Header> {
    let of = |kind| units.iter().filter(|u| h264::nal_type(u[0]) == kind).cloned().collect::<Vec<_>>();
    let track = Track {
        number: 1,
        kind: TrackKind::Video,
        codec_id: Track::H264.to_owned(),
        codec_private: Avcc::from_parameter_sets(&of(7), &of(8)),
        size: None,
        audio: None,
    };
    media::mkv::write_header(&[track]).shared()
}

async fn record(stream: Stream, mut units: tokio::sync::mpsc::Receiver<Bytes>) {
    let (mut writer, mut open) = (stream.writer(), false);
    while let Some(unit) = units.recv().await {
        let time = now();
        let nals = h264::annexb_units(&unit);
        let key = nals.iter().any(|n| h264::nal_type(n[0]) == 5);
        let mut data = BytesMut::new();
        for nal in nals.iter().filter(|n| !matches!(h264::nal_type(n[0]), 7..=9)) {
            data.extend_from_slice(&(nal.len() as u32).to_be_bytes());
            data.extend_from_slice(nal);
        }
        let mut events = Vec::new();
        if key {
            events.extend(open.then_some(Event::End));
            let producer_start: UnixMillis = time.to_millis();
            events.push(Event::Begin(Start { header: header(&nals), producer_start, cause: None }));
            open = true;
        }
        events.push(Event::Frame(Frame { track: 1, time, key, data: data.freeze() }));
        for event in events {
            if let (true, Err(error)) = (open, writer.offer(event)) {
                tracing::warn!(%error, "not stored");
            }
        }
    }
}

async fn answer(peers: &Peers, stream: &Stream, connection: &mut TcpStream) -> std::io::Result<()> {
    let (mut request, mut piece) = (Vec::new(), [0; 4096]);
    let (head, length) = loop {
        let read = connection.read(&mut piece).await?;
        request.extend_from_slice(&piece[..read]);
        if let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
            let length = head.split("content-length:").nth(1).and_then(|l| l.lines().next()?.trim().parse().ok());
            break (end + 4, length.unwrap_or(0usize).min(1 << 16));
        }
        if read == 0 || request.len() > 1 << 16 {
            return Ok(());
        }
    };
    while request.len() < head + length {
        let read = connection.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&piece[..read]);
    }
    let reached_at = connection.local_addr().ok().map(|a| a.ip());
    let (status, kind, body) = match request.starts_with(b"POST /whep") {
        false => ("200 OK", "text/html", PAGE.to_owned()),
        true => {
            let offer = String::from_utf8_lossy(&request[head..]);
            match peers.play(stream.clone(), &offer, reached_at).await {
                Ok(answer) => ("201 Created", "application/sdp", answer.sdp),
                Err(error) => ("409 Conflict", "text/plain", error.to_string()),
            }
        }
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    connection.write_all(format!("{head}{body}").as_bytes()).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8099".to_owned());
    let folder = tempfile::tempdir()?;
    let config = store::Config { data: folder.path().to_owned(), ..store::Config::default() };
    let store = Store::open(config, Arc::new(|| now().to_millis())).await?;
    let stream = store.create_stream(&"test".parse()?, None).await?;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let peers = Peers::start(Config::default(), store.clone(), stop.clone(), &tasks).await?;
    let (to, units) = tokio::sync::mpsc::channel(64);
    std::thread::spawn(move || read_access_units(to));
    tasks.spawn(record(stream.clone(), units));
    let listener = TcpListener::bind(&address).await?;
    loop {
        let (mut connection, _) = listener.accept().await?;
        let (peers, stream) = (peers.clone(), stream.clone());
        tokio::spawn(async move { answer(&peers, &stream, &mut connection).await });
    }
}
