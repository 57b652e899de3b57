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
/// Buffers of one receiving call. Viewers send little; clients of TURN send as much as they like, each datagram by itself.
const RECEIVES: usize = 32;

/// The socket.
pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

/// Where datagrams are received into: each buffer takes a whole run of them. The system gives memory to what is used of them.
pub(crate) struct Buffers([Vec<u8>; RECEIVES]);

impl Default for Buffers {
    fn default() -> Self {
        Buffers(std::array::from_fn(|_| vec![0; 1 << 16]))
    }
}

impl Socket {
    /// Binds the address. `[::]` takes IPv4 too.
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Socket> {
        Socket::open(addr, false)
    }

    /// Binds the address for its family alone.
    pub(crate) fn bind_alone(addr: SocketAddr) -> io::Result<Socket> {
        Socket::open(addr, true)
    }

    fn open(addr: SocketAddr, alone: bool) -> io::Result<Socket> {
        let socket = socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(alone)?;
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
        loop {
            self.readable().await?;
            if self.try_receive(buffers, &mut each)? > 0 {
                return Ok(());
            }
        }
    }

    /// Waits until there may be something to receive.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.io.readable().await
    }

    /// Gives each datagram that is there to `each`, as far as one call takes them; says how many runs there were.
    pub(crate) fn try_receive(&self, buffers: &mut Buffers, mut each: impl FnMut(Path, &[u8])) -> io::Result<usize> {
        let mut metas = [RecvMeta::default(); RECEIVES];
        let mut received = 0;
        let result = self.io.try_io(Interest::READABLE, || {
            let mut slices = buffers.0.each_mut().map(|buffer| IoSliceMut::new(buffer));
            received = self.state.recv(UdpSockRef::from(&self.io), &mut slices, &mut metas)?;
            // Fewer than there is room for: that was all, and asking again would cost a call to learn it.
            if received < RECEIVES { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        if let Err(error) = result
            && error.kind() != io::ErrorKind::WouldBlock
        {
            return Err(error);
        }
        for (meta, buffer) in metas.iter().zip(&buffers.0).take(received) {
            let path = Path { remote: meta.addr, local: meta.dst_ip };
            let bytes = buffer.get(..meta.len).unwrap_or_default();
            // The kernel may have joined datagrams of one sender (GRO).
            for datagram in bytes.chunks(meta.stride.max(1)) {
                each(path, datagram);
            }
        }
        Ok(received)
    }

    /// Sends datagrams of `segment` bytes, the last of which may be shorter, if the socket takes them now.
    pub(crate) fn try_send(&self, path: Path, segment: usize, contents: &[u8]) -> io::Result<()> {
        let segment_size = (contents.len() > segment).then_some(segment);
        let transmit = Transmit { destination: path.remote, ecn: None, contents, segment_size, src_ip: path.local };
        let send = || self.state.try_send(UdpSockRef::from(&self.io), &transmit);
        match self.io.try_io(Interest::WRITABLE, send) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock && segment_size.is_some() => {
                self.send_singly(&transmit);
                Ok(())
            }
            result => result,
        }
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
