//! For `./run bench`: producers of PutMedia, and the plainest server there could be to compare with.
//!
//! ```text
//! put_media streams DATA COUNT                    makes the streams load0, load1, … in a data folder that no server has open
//! put_media sink FILE                             a bare axum handler that appends the body to a file; prints its address
//! put_media flood ADDRESS GIGABYTES               one producer, as fast as it is read
//! put_media many ADDRESS SESSIONS SECONDS KBIT    producers of so many kbit/s, a fragment every 2 s, 25 frames a second
//! ```
//!
//! `flood` and `many` sign in as `VIDICON_ROOT_ACCESS_KEY_ID` and print one line of JSON.
#![allow(clippy::print_stdout)]

use axum::{Router, body::Body, routing::post};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    error::Error,
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
    task::JoinHandle,
};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const FRAGMENT_MS: u64 = 2000;
const FRAME_MS: u64 = 40;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        match words[..] {
            ["streams", data, count] => streams(data, count.parse()?).await,
            ["sink", file] => sink(file.to_owned()).await,
            ["flood", address, gigabytes] => flood(address, gigabytes.parse()?).await,
            ["many", address, sessions, seconds, kbit] => {
                many(address, sessions.parse()?, seconds.parse()?, kbit.parse()?).await
            }
            _ => Err("see the head of web/examples/put_media.rs".into()),
        }
    })
}

fn now() -> media::UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    media::UnixMillis(since.as_millis() as i64)
}

async fn streams(data: &str, count: usize) -> Result<()> {
    let config = store::Config { data: data.into(), ..store::Config::default() };
    let store = store::Store::open(config, Arc::new(now)).await?;
    for n in 0..count {
        store.create_stream(&format!("load{n}").parse()?, None).await?;
    }
    Ok(store.stop().await?)
}

async fn sink(path: String) -> Result<()> {
    let append = move |body: Body| async move {
        let mut file = std::fs::File::create(path).map_err(|e| e.to_string())?;
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|e| e.to_string())?;
            file.write_all(&piece).map_err(|e| e.to_string())?;
        }
        file.sync_data().map_err(|e| e.to_string())
    };
    let router = Router::new().route("/putMedia", post(append)).layer(axum::extract::DefaultBodyLimit::disable());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}

fn element(id: &[u8], payload: &[u8]) -> Vec<u8> {
    let size = (payload.len() as u64 | 1 << 56).to_be_bytes();
    [id, &size, payload].concat()
}

fn header() -> Vec<u8> {
    let track = media::Track {
        number: 1,
        kind: media::TrackKind::Video,
        codec_id: media::Track::H264.to_owned(),
        codec_private: Default::default(),
        size: Some((1280, 720)),
        audio: None,
    };
    media::mkv::write_header(&[track]).bytes.to_vec()
}

fn cluster_start(timecode: u64) -> Vec<u8> {
    [&[0x1f, 0x43, 0xb6, 0x75, 0xff][..], &element(&[0xe7], &timecode.to_be_bytes())].concat()
}

fn block(at_ms: u64, key: bool, bytes: usize) -> Vec<u8> {
    let at = (at_ms as u16).to_be_bytes();
    let mut payload = vec![0x55; bytes + 4];
    payload[..4].copy_from_slice(&[0x81, at[0], at[1], if key { 0x80 } else { 0 }]);
    element(&[0xa3], &payload)
}

/// When what was sent that an acknowledgement answers, by event and time code; and how long each took, in ms.
#[derive(Default)]
struct Times {
    sent: HashMap<(&'static str, u64), Instant>,
    took: HashMap<&'static str, Vec<f64>>,
    errors: Vec<Value>,
}

struct Session {
    write: OwnedWriteHalf,
    reader: JoinHandle<Result<()>>,
    times: Arc<Mutex<Times>>,
}

impl Session {
    async fn begin(address: &str, stream: &str) -> Result<Session> {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let (key, secret) = (variable("VIDICON_ROOT_ACCESS_KEY_ID"), variable("VIDICON_ROOT_SECRET_ACCESS_KEY"));
        let basic = STANDARD.encode(format!("{key}:{secret}"));
        let head = format!(
            "POST /putMedia HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {basic}\r\ntransfer-encoding: chunked\r\n\
             x-amzn-stream-name: {stream}\r\nx-amzn-fragment-timecode-type: ABSOLUTE\r\n\r\n"
        );
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (read, mut write) = socket.into_split();
        write.write_all(head.as_bytes()).await?;
        let times = Arc::new(Mutex::new(Times::default()));
        let reader = tokio::spawn(acks(BufReader::new(read), times.clone()));
        Ok(Session { write, reader, times })
    }

    fn sent(&self, event: &'static str, timecode: u64) {
        let mut times = self.times.lock().unwrap_or_else(|e| e.into_inner());
        times.sent.insert((event, timecode), Instant::now());
    }

    async fn chunk(&mut self, bytes: &[u8]) -> Result<()> {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        Ok(self.write.write_all(&chunk).await?)
    }

    async fn end(mut self) -> Result<Arc<Mutex<Times>>> {
        self.write.write_all(b"0\r\n\r\n").await?;
        self.reader.await??;
        Ok(self.times)
    }
}

/// Reads the answer to its end.
async fn acks(mut read: BufReader<tokio::net::tcp::OwnedReadHalf>, times: Arc<Mutex<Times>>) -> Result<()> {
    let mut line = String::new();
    let mut is_plain = true;
    read.read_line(&mut line).await?;
    if !line.starts_with("HTTP/1.1 200") {
        let mut rest = vec![0; 2000];
        let n = read.read(&mut rest).await?;
        return Err(format!("{line}{}", String::from_utf8_lossy(&rest[..n])).into());
    }
    loop {
        line.clear();
        if read.read_line(&mut line).await? == 0 || (line == "0\r\n") || (is_plain && line == "content-length: 0\r\n") {
            return Ok(());
        }
        let Ok(ack) = serde_json::from_str::<Value>(&line) else { continue };
        is_plain = false;
        let (now, mut times) = (Instant::now(), times.lock().unwrap_or_else(|e| e.into_inner()));
        let event = ["BUFFERING", "RECEIVED", "PERSISTED"].into_iter().find(|e| ack["EventType"] == **e);
        let sent =
            event.zip(ack["FragmentTimecode"].as_u64()).and_then(|(e, t)| Some((e, times.sent.remove(&(e, t))?)));
        match sent {
            Some((event, at)) => times.took.entry(event).or_default().push((now - at).as_secs_f64() * 1000.0),
            None if ack["EventType"] == "ERROR" => times.errors.push(ack),
            None => {}
        }
    }
}

async fn flood(address: &str, gigabytes: f64) -> Result<()> {
    let mut session = Session::begin(address, "load0").await?;
    session.chunk(&header()).await?;
    let frames: Vec<u8> = (0..FRAGMENT_MS / FRAME_MS).flat_map(|n| block(n * FRAME_MS, n == 0, 32 << 10)).collect();
    let (mut sent, mut timecode, began) = (0, now().0 as u64, Instant::now());
    while (sent as f64) < gigabytes * 1e9 {
        let cluster = [cluster_start(timecode), frames.clone()].concat();
        for piece in cluster.chunks(64 << 10) {
            session.chunk(piece).await?;
        }
        (sent, timecode) = (sent + cluster.len(), timecode + FRAGMENT_MS);
    }
    let times = session.end().await?;
    let errors = times.lock().unwrap_or_else(|e| e.into_inner()).errors.clone();
    println!("{}", json!({"bytes": sent, "seconds": began.elapsed().as_secs_f64(), "errors": errors}));
    Ok(())
}

async fn produce(
    address: String,
    n: usize,
    until: Instant,
    frame_bytes: usize,
    offset: Duration,
) -> Result<Arc<Mutex<Times>>> {
    tokio::time::sleep(offset).await;
    let mut session = Session::begin(&address, &format!("load{n}")).await?;
    session.chunk(&header()).await?;
    let mut every = tokio::time::interval(Duration::from_millis(FRAME_MS));
    let (mut before, mut at) = (None, now().0 as u64);
    while Instant::now() < until {
        for frame in 0..FRAGMENT_MS / FRAME_MS {
            every.tick().await;
            let block = block(frame * FRAME_MS, frame == 0, frame_bytes);
            if frame > 0 {
                session.chunk(&block).await?;
                continue;
            }
            // This ends the fragment before it and begins the next.
            session.sent("BUFFERING", at);
            if let Some(before) = before.replace(at) {
                session.sent("RECEIVED", before);
                session.sent("PERSISTED", before);
            }
            session.chunk(&[cluster_start(at), block].concat()).await?;
        }
        at += FRAGMENT_MS;
    }
    session.end().await
}

async fn many(address: &str, sessions: usize, seconds: u64, kbit: usize) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(seconds);
    let frame_bytes = kbit * 1000 / 8 * FRAME_MS as usize / 1000;
    // Spread over a fragment, as cameras are.
    let offset = |n: usize| Duration::from_millis(FRAGMENT_MS * n as u64 / sessions as u64);
    let tasks: Vec<_> =
        (0..sessions).map(|n| tokio::spawn(produce(address.to_owned(), n, until, frame_bytes, offset(n)))).collect();
    let (mut took, mut errors) = (HashMap::<_, Vec<f64>>::new(), Vec::new());
    for task in tasks {
        let times = task.await??;
        let mut times = times.lock().unwrap_or_else(|e| e.into_inner());
        errors.append(&mut times.errors);
        for (event, mut ms) in times.took.drain() {
            took.entry(event).or_default().append(&mut ms);
        }
    }
    let at = |event: &str, part: f64| {
        let mut ms = took.get(event).cloned().unwrap_or_default();
        ms.sort_by(f64::total_cmp);
        ms.get((ms.len() as f64 * part) as usize).copied()
    };
    let of = |event: &str| json!({"count": took.get(event).map_or(0, Vec::len), "p50": at(event, 0.5), "p99": at(event, 0.99)});
    let fragment_bytes = frame_bytes * (FRAGMENT_MS / FRAME_MS) as usize;
    println!(
        "{}",
        json!({"fragment_bytes": fragment_bytes, "buffering_ms": of("BUFFERING"), "received_ms": of("RECEIVED"),
            "persisted_ms": of("PERSISTED"), "errors": errors})
    );
    Ok(())
}
