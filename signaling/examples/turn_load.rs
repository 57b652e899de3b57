//! The load of the rows `turn_vs_coturn_*` (`tests/bench/turn_rows.py`): a client of TURN with many flows, and their peer, for any server.
//!
//! Arguments: server, username, password, flows, bytes of a packet, packets of a burst, bursts a second of a flow (0: as fast as they
//! come back), seconds. Each flow is a socket of its own, with an allocation and a channel to a peer that sends everything back. Packets
//! of a burst go out in one call, as a sender of video has them; each has a number and its time. Prints one JSON object.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use signaling::ice_test::client::{Answer, Ask, Client};
use std::io::{ErrorKind, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Buffers of one receiving call.
const RECEIVES: usize = 16;
/// The channel of each flow.
const CHANNEL: u16 = 0x4000;
/// What does not come back for so long is lost.
const LOST: Duration = Duration::from_millis(200);

/// A socket that sends and receives runs.
struct Runs {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Runs {
    fn new(socket: UdpSocket) -> Runs {
        socket.set_nonblocking(true).unwrap();
        let wide = socket2::SockRef::from(&socket);
        let _ = (wide.set_recv_buffer_size(4 << 20), wide.set_send_buffer_size(4 << 20));
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).unwrap();
        Runs { socket, state }
    }

    fn send(&self, to: SocketAddr, segment: usize, contents: &[u8]) {
        let segment_size = (contents.len() > segment).then_some(segment);
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size, src_ip: None };
        while let Err(error) = self.state.try_send(UdpSockRef::from(&self.socket), &transmit) {
            if error.kind() != ErrorKind::WouldBlock {
                break;
            }
            std::thread::yield_now();
        }
    }

    /// Gives each run that is there: sender, bytes of a packet, all bytes. False if there was none.
    fn receive(&self, buffers: &mut [Vec<u8>], mut each: impl FnMut(SocketAddr, usize, &[u8])) -> bool {
        let mut metas = [RecvMeta::default(); RECEIVES];
        let mut slices: Vec<IoSliceMut<'_>> = buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
        let Ok(count) = self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas) else { return false };
        drop(slices);
        for (meta, buffer) in metas.iter().zip(&*buffers).take(count) {
            each(meta.addr, meta.stride.max(1), &buffer[..meta.len]);
        }
        count > 0
    }
}

fn buffers() -> Vec<Vec<u8>> {
    vec![vec![0; 1 << 16]; RECEIVES]
}

/// Sends everything back, run for run.
fn peer(socket: UdpSocket, stop: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let blocking = socket.try_clone().unwrap();
    let (runs, mut buffers, mut one) = (Runs::new(socket), buffers(), [0; 1]);
    while !stop.load(Ordering::Relaxed) {
        if !runs.receive(&mut buffers, |from, segment, bytes| runs.send(from, segment, bytes)) {
            // Waits without taking anything.
            blocking.set_nonblocking(false).unwrap();
            let _ = blocking.peek(&mut one);
            blocking.set_nonblocking(true).unwrap();
        }
    }
}

fn ask(socket: &UdpSocket, client: &mut Client, ask: Ask) {
    let mut buffer = [0; 2048];
    for _ in 0..20 {
        socket.send(&client.request(ask)).unwrap();
        while let Ok(length) = socket.recv(&mut buffer) {
            match client.answer(&buffer[..length]) {
                Some(Answer::Done { .. }) => return,
                Some(Answer::Challenged) => break,
                Some(Answer::Refused { code, reason }) => panic!("{ask:?}: {code} {reason}"),
                None => {}
            }
        }
    }
    panic!("no answer to {ask:?}");
}

struct Flow {
    runs: Runs,
    /// The burst, framed: sent again and again.
    burst: Vec<u8>,
    segment: usize,
    next: Instant,
    sent: u64,
    back: u64,
    /// Packets under way, where the next burst waits for them, and when the last came.
    away: u64,
    since: Instant,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    let (server, username, password): (SocketAddr, _, _) = (words[0].parse().unwrap(), &words[1], &words[2]);
    let (flows, bytes, per_burst, rate, seconds) =
        (number(3), number(4) as usize, number(5) as usize, number(6), words[7].parse::<f64>().unwrap());

    let stop = Arc::new(AtomicBool::new(false));
    let at = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let peer_addr = at.local_addr().unwrap();
    let peers = std::thread::spawn({
        let stop = stop.clone();
        move || peer(at, &stop)
    });

    let begun = Instant::now();
    let mut all: Vec<Flow> = (0..flows)
        .map(|_| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.connect(server).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let mut client = Client::new(username, password).unwrap();
            ask(&socket, &mut client, Ask::Allocate);
            ask(&socket, &mut client, Ask::Bind(CHANNEL, peer_addr));
            let mut packet = [CHANNEL.to_be_bytes(), u16::try_from(bytes).unwrap().to_be_bytes()].concat();
            packet.resize(4 + bytes, 7);
            let segment = packet.len();
            let (burst, now) = (packet.repeat(per_burst), Instant::now());
            Flow { runs: Runs::new(socket), burst, segment, next: now, sent: 0, back: 0, away: 0, since: now }
        })
        .collect();
    let allocated = begun.elapsed();
    println!("ready");

    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(seconds);
    let every = (rate > 0).then(|| Duration::from_secs_f64(1.0 / rate as f64));
    // Flows do not all send at one moment.
    if let Some(every) = every {
        for (n, flow) in all.iter_mut().enumerate() {
            flow.next = begun + every * n as u32 / flows as u32;
        }
    }
    let mut buffers = buffers();
    // A flow that waits for its packets has so many under way.
    let most_away = 4 * per_burst as u64;
    loop {
        let now = Instant::now();
        if now > end {
            break;
        }
        let mut idle = true;
        for flow in &mut all {
            let due = match every {
                Some(_) => now >= flow.next,
                None => {
                    if flow.away > 0 && now > flow.since + LOST {
                        flow.away = 0;
                    }
                    flow.away + per_burst as u64 <= most_away
                }
            };
            if due {
                flow.runs.send(server, flow.segment, &flow.burst);
                flow.sent += per_burst as u64;
                flow.away += per_burst as u64;
                flow.next += every.unwrap_or_default();
                (flow.since, idle) = (now, false);
            }
            let mut back = 0;
            while flow.runs.receive(&mut buffers, |_, stride, run| back += (run.len() / stride.max(1)) as u64) {
                idle = false;
            }
            flow.back += back;
            flow.away = flow.away.saturating_sub(back);
            if back > 0 {
                flow.since = now;
            }
        }
        if idle {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    let took = begun.elapsed();
    println!("done");
    stop.store(true, Ordering::Relaxed);
    peers.join().unwrap();
    let sum = |of: fn(&Flow) -> u64| all.iter().map(of).sum::<u64>();
    println!(
        r#"{{"sent":{},"back":{},"seconds":{},"allocated_s":{}}}"#,
        sum(|f| f.sent),
        sum(|f| f.back),
        took.as_secs_f64(),
        allocated.as_secs_f64()
    );
}
