//! The one UDP socket: receives and sends several datagrams a system call, through `quinn-udp`.

use crate::batch::{Batch, Path};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Type};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Asked for in both directions; the kernel gives what its limits allow.
const BUFFER_BYTES: usize = 4 << 20;
/// What waits for a full socket buffer may have this many bytes; the newest is dropped beyond it. NACKs mend it.
const BACKLOG_BYTES: usize = 4 << 20;
/// Buffers of one receiving call. Viewers send little: checks and receiver reports.
const RECEIVES: usize = 4;

/// The socket.
pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

/// Where datagrams are received into: each buffer takes a whole run of them.
pub(crate) struct Buffers(Vec<Vec<u8>>);

impl Default for Buffers {
    fn default() -> Self {
        Buffers(vec![vec![0; 1 << 16]; RECEIVES])
    }
}

impl Socket {
    /// Binds the address. `[::]` takes IPv4 too.
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Socket> {
        let socket = socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_nonblocking(true)?;
        for result in [socket.set_recv_buffer_size(BUFFER_BYTES), socket.set_send_buffer_size(BUFFER_BYTES)] {
            if let Err(error) = result {
                tracing::debug!(%error, "the UDP socket keeps its default buffer size");
            }
        }
        socket.bind(&addr.into())?;
        let io = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        let local = io.local_addr()?;
        Ok(Socket { io, state, local })
    }

    /// The bound address.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Datagrams that one run of a batch may have now. The kernel may turn segmentation down later.
    pub(crate) fn most_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Waits for datagrams and gives each to `each`, with the path it came by. Cancel safe.
    pub(crate) async fn receive(&self, buffers: &mut Buffers, mut each: impl FnMut(Path, &[u8])) -> io::Result<()> {
        let mut metas = [RecvMeta::default(); RECEIVES];
        let (io, state, buffers) = (&self.io, &self.state, &mut buffers.0);
        let received = io
            .async_io(Interest::READABLE, || {
                let mut slices: Vec<IoSliceMut<'_>> = buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
                state.recv(UdpSockRef::from(io), &mut slices, &mut metas)
            })
            .await?;
        for (meta, buffer) in metas.iter().zip(buffers.iter()).take(received) {
            let path = Path { remote: meta.addr, local: meta.dst_ip };
            let bytes = buffer.get(..meta.len).unwrap_or_default();
            // The kernel may have joined datagrams of one sender (GRO).
            for datagram in bytes.chunks(meta.stride.max(1)) {
                each(path, datagram);
            }
        }
        Ok(())
    }

    /// Waits until the socket takes something again.
    pub(crate) async fn writable(&self) {
        if let Err(error) = self.io.writable().await {
            tracing::warn!(%error, "the UDP socket cannot be waited for");
        }
    }

    /// Sends what the batch holds until the socket is full. Never waits: what does not fit stays in the batch, within
    /// bounds.
    pub(crate) fn send(&self, batch: &mut Batch) {
        while let Some(run) = batch.runs.front() {
            let transmit = Transmit {
                destination: run.path.remote,
                ecn: None,
                contents: &run.bytes,
                segment_size: (run.bytes.len() > run.segment).then_some(run.segment),
                src_ip: run.path.local,
            };
            let sent =
                self.io.try_io(Interest::WRITABLE, || self.state.try_send(UdpSockRef::from(&self.io), &transmit));
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // A kernel or driver without segmentation says so at the first use; `quinn-udp` then turns it off.
                Err(_) if transmit.segment_size.is_some() => self.send_singly(&transmit),
                // Unreachable viewers are found by their checks stopping.
                Err(error) => tracing::debug!(%error, remote = %run.path.remote, "a datagram was not sent"),
                Ok(()) => {}
            }
            batch.pop();
        }
        batch.most_segments = self.most_segments();
        while batch.bytes > BACKLOG_BYTES {
            let Some(run) = batch.runs.pop_back() else { break };
            batch.bytes -= run.bytes.len();
            metrics::counter!("vidicon_webrtc_dropped_datagrams_total", "reason" => "socket full")
                .increment(run.datagrams() as u64);
        }
    }

    fn send_singly(&self, run: &Transmit<'_>) {
        let segment = run.segment_size.unwrap_or(run.contents.len()).max(1);
        for contents in run.contents.chunks(segment) {
            let single = Transmit { contents, segment_size: None, ..run.clone() };
            let send = || self.state.try_send(UdpSockRef::from(&self.io), &single);
            if let Err(error) = self.io.try_io(Interest::WRITABLE, send) {
                tracing::debug!(%error, remote = %run.destination, "a datagram was not sent");
            }
        }
    }
}
