//! A minimal RTSP server that answers as a test tells it to, on threads of its own.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the server does with a request: it writes an answer, and returns whether it reads on.
type Answer = dyn Fn(&Request, &mut TcpStream) -> bool + Send + Sync;

/// A request as it came.
pub struct Request {
    pub method: String,
    pub url: String,
    pub cseq: String,
}

/// The server; its threads end with the test's process.
pub struct Server {
    pub address: SocketAddr,
    /// Methods asked for so far.
    pub methods: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request, &mut TcpStream) -> bool + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let methods = Arc::new(Mutex::new(Vec::new()));
        let (log, answer): (_, Arc<Answer>) = (methods.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || serve(socket, &log, &*answer));
            }
        });
        Server { address, methods }
    }

    pub fn url(&self) -> String {
        format!("rtsp://{}/live", self.address)
    }

    pub fn methods(&self) -> Vec<String> {
        self.methods.lock().unwrap().clone()
    }
}

fn serve(socket: TcpStream, log: &Mutex<Vec<String>>, answer: &Answer) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let mut socket = socket;
    while let Some(request) = read(&mut reader) {
        log.lock().unwrap().push(request.method.clone());
        if !answer(&request, &mut socket) {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if !line.trim().is_empty() {
            break;
        }
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, url) = (words.next()?, words.next().unwrap_or_default());
    let (mut cseq, mut length) = (String::new(), 0usize);
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "cseq" => cseq = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    Some(Request { method, url, cseq })
}

/// Writes an answer.
pub fn reply(socket: &mut TcpStream, request: &Request, status: &str, headers: &str, body: &str) -> bool {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let text = format!("RTSP/1.0 {status}\r\nCSeq: {}\r\n{headers}{length}\r\n{body}", request.cseq);
    socket.write_all(text.as_bytes()).is_ok()
}

/// An SDP with these media lines.
pub fn sdp(media: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=x\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n{media}")
}

/// The media lines of an H.264 track whose parameters come in band.
pub const H264: &str =
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:trackID=0\r\n";

/// A server that plays: `media` is described, `base` is the Content-Base, and after PLAY `then` is called.
pub fn playing(
    media: &'static str,
    base: Option<String>,
    then: impl Fn(&mut TcpStream) -> bool + Send + Sync + 'static,
) -> Server {
    Server::start(move |request, socket| match request.method.as_str() {
        "DESCRIBE" => {
            let base = base.clone().unwrap_or_else(|| format!("{}/", request.url));
            let headers = format!("Content-Type: application/sdp\r\nContent-Base: {base}\r\n");
            reply(socket, request, "200 OK", &headers, &sdp(media))
        }
        "SETUP" => {
            let transport = "RTP/AVP/TCP;unicast;interleaved=0-1";
            reply(socket, request, "200 OK", &format!("Session: 1;timeout=60\r\nTransport: {transport}\r\n"), "")
        }
        "PLAY" => reply(socket, request, "200 OK", "Session: 1\r\n", "") && then(socket),
        _ => reply(socket, request, "200 OK", "Session: 1\r\n", ""),
    })
}
