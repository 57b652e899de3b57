//! The test of a server against this crate's server, over sockets of loopback, and against what is no server.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Config, Peers};
use media::UnixMillis;
use std::net::Ipv4Addr;
use std::sync::Arc;
use store::Store;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const LIMIT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(700);

struct Server {
    peers: Peers,
    stop: CancellationToken,
    tasks: TaskTracker,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start(turn: crate::turn::Config) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let config = store::Config { data: folder.path().to_owned(), ..store::Config::default() };
        let store = Store::open(config, Arc::new(|| UnixMillis(1_795_413_681_000))).await.unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let config = Config { listen: Some((Ipv4Addr::LOCALHOST, 0).into()), turn, ..Config::default() };
        let peers = Peers::start(config, store, stop.clone(), &tasks).await.unwrap();
        Server { peers, stop, tasks, _folder: folder }
    }

    fn credentials(&self) -> Credentials {
        let far = 4_000_000_000;
        let made = self.peers.turn().unwrap().credentials("test", far);
        Credentials { username: made.username, password: made.password }
    }

    async fn connect(&self) -> TcpStream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let turn = self.peers.turn().unwrap().clone();
        self.tasks.spawn(turn.serve_tcp(listener, self.stop.clone(), self.tasks.clone()));
        TcpStream::connect(addr).await.unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        timeout_at(Instant::now() + LIMIT, self.tasks.wait()).await.unwrap();
    }
}

#[tokio::test]
async fn each_way_to_this_server_works() {
    let server = Server::start(crate::turn::Config::default()).await;
    let addr = server.peers.local_addr();
    let seen = binding(addr, LIMIT).await.unwrap();
    assert!(seen.mapped.unwrap().ip().is_loopback() && seen.relayed.is_none());
    let credentials = server.credentials();
    let udp = relay_by_udp(addr, &credentials, LIMIT).await.unwrap();
    let tcp = relay_by_stream(server.connect().await, &credentials, LIMIT).await.unwrap();
    for works in [udp, tcp] {
        assert!(works.relayed.unwrap().ip().is_loopback() && works.took < LIMIT, "{works:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_the_server_refuses_is_said_in_its_words() {
    let server = Server::start(crate::turn::Config { max_allocations: 0, ..Default::default() }).await;
    let addr = server.peers.local_addr();
    let full = relay_by_udp(addr, &server.credentials(), LIMIT).await.unwrap_err();
    assert!(matches!(full, Error::Refused { asked: "Allocate", code: 486, .. }), "{full}");
    let wrong = Credentials { password: "x".into(), ..server.credentials() };
    let refused = relay_by_stream(server.connect().await, &wrong, LIMIT).await.unwrap_err();
    assert!(matches!(refused, Error::Refused { asked: "Allocate", code: 401, .. }), "{refused}");
    assert!(!format!("{wrong:?}").contains("\"x\""));
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_server_does_not_hang() {
    // Nobody there, somebody who is silent, somebody who speaks something else, and somebody who leaves.
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let refused = binding(closed, LIMIT).await.unwrap_err();
    assert!(matches!(&refused, Error::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused), "{refused}");
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let none = binding(silent.local_addr().unwrap(), SHORT).await.unwrap_err();
    assert!(none.to_string().starts_with("no answer to Binding within 0.7 s"), "{none}");
    let nobody = Credentials { username: String::new(), password: String::new() };
    let (near, far) = tokio::io::duplex(4096);
    let none = relay_by_stream(near, &nobody, SHORT).await.unwrap_err();
    assert!(matches!(none, Error::NoAnswer("Allocate", _)), "{none}");
    drop(far);
    let (near, mut far) = tokio::io::duplex(4096);
    tokio::io::AsyncWriteExt::write_all(&mut far, b"HTTP/1.1 400 Bad Request\r\n").await.unwrap();
    let other = relay_by_stream(near, &nobody, LIMIT).await.unwrap_err();
    assert!(other.to_string().contains("does not speak TURN"), "{other}");
    let (near, far) = tokio::io::duplex(4096);
    drop(far);
    assert!(matches!(relay_by_stream(near, &nobody, LIMIT).await.unwrap_err(), Error::Io(_)));
}
