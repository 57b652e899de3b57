//! A producer on a raw socket: what it sends and reads is looked at byte by byte.

use super::{KEY, SECRET, basic};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time code of the first cluster, in ms.
pub const T0: u64 = 1_795_404_896_353;

/// The Matroska of these tests: one track of H.264.
pub fn header() -> Vec<u8> {
    super::h264_header(0).bytes.to_vec()
}

/// An element with a size of eight bytes, as the C SDK writes them.
pub fn element(id: &[u8], payload: &[u8]) -> Vec<u8> {
    let size = (payload.len() as u64 | 1 << 56).to_be_bytes();
    [id, &size, payload].concat()
}

/// A cluster of unknown size, up to its time code.
pub fn cluster_start(timecode: u64) -> Vec<u8> {
    [&[0x1f, 0x43, 0xb6, 0x75, 0xff][..], &element(&[0xe7], &timecode.to_be_bytes())].concat()
}

/// A block of a track.
pub fn block(track: u8, at_ms: i16, key: bool, data: &[u8]) -> Vec<u8> {
    let at = at_ms.to_be_bytes();
    element(&[0xa3], &[&[0x80 | track, at[0], at[1], if key { 0x80 } else { 0 }][..], data].concat())
}

/// A second of ten frames of this many bytes each.
pub fn cluster(timecode: u64, frame_bytes: usize) -> Vec<u8> {
    let frames = (0..10).flat_map(|n| {
        let mut data = vec![n as u8; frame_bytes.max(9)];
        let nal = data.len() as u32 - 4;
        data[..4].copy_from_slice(&nal.to_be_bytes());
        data[4] = if n == 0 { 0x65 } else { 0x41 };
        block(1, n * 100, n == 0, &data)
    });
    cluster_start(timecode).into_iter().chain(frames).collect()
}

/// Tags before a cluster.
pub fn tags(pairs: &[(&str, &str)]) -> Vec<u8> {
    let simple = |(name, value): &(&str, &str)| {
        let pair = [element(&[0x45, 0xa3], name.as_bytes()), element(&[0x44, 0x87], value.as_bytes())].concat();
        element(&[0x67, 0xc8], &pair)
    };
    element(&[0x12, 0x54, 0xc3, 0x67], &element(&[0x73, 0x73], &pairs.iter().flat_map(simple).collect::<Vec<_>>()))
}

/// The tag by which the C SDK ends a fragment.
pub fn end_of_fragment() -> Vec<u8> {
    tags(&[("AWS_KINESISVIDEO_END_OF_FRAGMENT", "")])
}

/// A connection with a request whose body is being sent in chunks.
pub struct Pusher {
    pub socket: TcpStream,
    read: Vec<u8>,
}

impl Pusher {
    /// Sends a request's head, as root unless `extra` has other credentials.
    pub async fn ask(address: SocketAddr, path: &str, extra: &[(&str, &str)]) -> Pusher {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut head = format!("POST {path} HTTP/1.1\r\ntransfer-encoding: chunked\r\n");
        let mut line = |name: &str, value: &str| head += &format!("{name}: {value}\r\n");
        extra.iter().for_each(|(name, value)| line(name, value));
        let has = |name: &str| extra.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if !has("host") {
            line("Host", &address.to_string());
        }
        if !has("authorization") && !path.contains("X-Amz-Signature") {
            line("Authorization", &basic(KEY, SECRET));
        }
        let mut pusher = Pusher { socket, read: Vec::new() };
        pusher.socket.write_all((head + "\r\n").as_bytes()).await.unwrap();
        pusher
    }

    /// Begins a session of absolute time codes, and reads the head of its answer.
    pub async fn start(address: SocketAddr, stream: &str, extra: &[(&str, &str)]) -> Pusher {
        let mut all = vec![("x-amzn-stream-name", stream), ("x-amzn-fragment-timecode-type", "ABSOLUTE")];
        all.extend(extra);
        let mut pusher = Pusher::ask(address, "/putMedia", &all).await;
        let head = pusher.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        pusher
    }

    /// Sends a chunk of the body; whether the server still takes it.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.socket.write_all(&chunk).await.is_ok()
    }

    /// Ends the body.
    pub async fn end(&mut self) {
        self.socket.write_all(b"0\r\n\r\n").await.unwrap();
    }

    async fn fill(&mut self) -> usize {
        let read = timeout(PATIENCE, self.socket.read_buf(&mut self.read)).await;
        read.unwrap_or_else(|_| panic!("nothing comes after {:?}", String::from_utf8_lossy(&self.read))).unwrap_or(0)
    }

    /// The next head, with the empty line after it.
    pub async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                return String::from_utf8(self.read.drain(..end + 4).collect()).unwrap();
            }
            assert_ne!(self.fill().await, 0, "the connection ended in a head");
        }
    }

    /// So many bytes of a body.
    pub async fn bytes(&mut self, count: usize) -> String {
        while self.read.len() < count {
            assert_ne!(self.fill().await, 0, "the connection ended in a body");
        }
        String::from_utf8(self.read.drain(..count).collect()).unwrap()
    }

    /// The next chunk of the answer; `None` at its end. Each is one acknowledgement and a line end, and nothing else.
    pub async fn ack(&mut self) -> Option<serde_json::Value> {
        let end = loop {
            if let Some(end) = self.read.windows(2).position(|w| w == b"\r\n") {
                break end;
            }
            assert_ne!(self.fill().await, 0, "the connection ended in an answer");
        };
        let size = String::from_utf8(self.read.drain(..end + 2).collect()).unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or_else(|_| panic!("a size alone: {size:?}"));
        let chunk = self.bytes(size + 2).await;
        let chunk = chunk.strip_suffix("\r\n").unwrap();
        if size == 0 {
            assert!(chunk.is_empty() && self.read.is_empty(), "no trailers: {chunk:?}");
            return None;
        }
        assert!(size < 1024);
        let json = chunk.strip_suffix("\r\n").expect("a line");
        Some(serde_json::from_str(json).unwrap_or_else(|e| panic!("one object a chunk: {e}: {json}")))
    }

    /// The next acknowledgement but IDLE, as `EVENT timecode`, or `ERROR id timecode`; `end` at the end.
    pub async fn word(&mut self) -> String {
        loop {
            let Some(ack) = self.ack().await else { return "end".into() };
            let timecode = ack["FragmentTimecode"].as_u64().map_or(String::new(), |t| format!(" {t}"));
            match ack["EventType"].as_str().unwrap() {
                "IDLE" => {}
                "ERROR" => return format!("ERROR {}{timecode}", ack["ErrorId"]),
                event => return format!("{event}{timecode}"),
            }
        }
    }

    /// All that is left of the answer.
    pub async fn rest(&mut self) -> Vec<serde_json::Value> {
        let (mut all, began) = (Vec::new(), Instant::now());
        while let Some(ack) = self.ack().await {
            all.push(ack);
            assert!(began.elapsed() < 3 * PATIENCE, "no end: {all:?}");
        }
        all
    }
}
