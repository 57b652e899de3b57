//! The TURN server by coturn's clients: over UDP, TCP and TLS, IPv4 and IPv6, with peers and among themselves; what is refused; and a flood.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Server, serve};
use serde_json::{Value, json};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is there of coturn, or a clear line.
fn coturn(program: &str) -> Option<Command> {
    match Command::new(program).arg("-?").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(_) => Some(Command::new(program)),
        Err(_) => {
            eprintln!("skipped: {program} (coturn) is not here");
            None
        }
    }
}

struct Turn {
    server: Server,
    username: String,
    password: String,
    udp: u16,
    tcp: u16,
    tls: u16,
}

fn start(folder: &Path, more: &str) -> Turn {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&certificate, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let text = format!(
        "[webrtc]\nlisten = \"[::]:0\"\n[tls]\ncertificate = {certificate:?}\nkey = {key:?}\nlisten = \"127.0.0.1:0\"\n\
         [turn]\ntcp = \"[::]:0\"\ntls = \"[::]:0\"\n{more}\n"
    );
    let server = Server::start(serve_with(folder, &text));
    let (status, made) = server.request("POST", "/createSignalingChannel", Some(json!({"ChannelName": "door"})));
    assert_eq!(status, 200, "{made}");
    let (status, told) =
        server.request("POST", "/v1/get-ice-server-config", Some(json!({"ChannelARN": made["ChannelARN"]})));
    assert_eq!(status, 200, "{told}");
    let one = &told["IceServerList"][0];
    let uris: Vec<&str> = one["Uris"].as_array().unwrap().iter().map(|uri| uri.as_str().unwrap()).collect();
    let port = |begins: &str, ends: &str| {
        let uri = uris.iter().find(|uri| uri.starts_with(begins) && uri.ends_with(ends)).unwrap();
        uri.rsplit_once(':').unwrap().1.split_once('?').unwrap().0.parse().unwrap()
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (udp, tcp, tls) = (port("turn:", "=udp"), port("turn:", "=tcp"), port("turns:", "=tcp"));
    Turn { username: text(&one["Username"]), password: text(&one["Password"]), udp, tcp, tls, server }
}

impl Turn {
    /// Runs coturn's client; what it said.
    fn client(&self, port: u16, host: &str, words: &str) -> Option<String> {
        let mut command = coturn("turnutils_uclient")?;
        command.args(["-u", &self.username, "-w", &self.password, "-p", &port.to_string()]);
        let done = command.args(words.split_whitespace()).arg(host).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(text(&done.stdout) + &text(&done.stderr))
    }

    /// The same, which has to lose nothing.
    fn passes(&self, port: u16, host: &str, words: &str) {
        let Some(said) = self.client(port, host, words) else { return };
        assert!(said.contains("Total lost packets 0 "), "{port} {words}: {said}");
        let got = said.split("tot_recv_msgs=").last().and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        assert!(got.and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n > 0), "{port} {words}: {said}");
    }

    fn has_no_allocations(&self) {
        let begun = Instant::now();
        while self.figure("vidicon_turn_allocations") > 0.0 {
            assert!(begun.elapsed() < Duration::from_secs(10), "allocations are left");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn figure(&self, name: &str) -> f64 {
        let (_, text) = self.server.bytes("GET", "/metrics", None);
        let text = String::from_utf8(text).unwrap();
        text.lines().filter(|l| l.starts_with(name)).filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// A peer that sends back what it gets.
struct Echo(Child, u16);

impl Echo {
    fn start(host: &str) -> Option<Echo> {
        // A port that is free now: the program takes no 0.
        let port = UdpSocket::bind((host, 0)).unwrap().local_addr().unwrap().port();
        let child = coturn("turnutils_peer")?.args(["-L", host, "-p", &port.to_string()]).stdout(Stdio::null()).spawn();
        std::thread::sleep(Duration::from_millis(300));
        Some(Echo(child.unwrap(), port))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn coturns_clients_reach_peers_by_every_transport() {
    let folder = tempfile::tempdir().unwrap();
    let turn = start(folder.path(), "allow_peers = [\"127.0.0.1\", \"::1\"]");
    let (Some(v4), Some(v6)) = (Echo::start("127.0.0.1"), Echo::start("::1")) else { return };
    let to_v4 = format!("-e 127.0.0.1 -r {} -c -n 30 -m 3 -l 700 -z 5", v4.1);
    let to_v6 = format!("-x -e ::1 -r {} -c -n 30 -m 3 -l 700 -z 5", v6.1);
    for (port, how) in [(turn.tcp, "-t"), (turn.tls, "-t -S"), (turn.udp, "")] {
        // An allocation of a connection ends with it; one over UDP, which its client does not end, by its time.
        turn.has_no_allocations();
        // Channels, and Send indications.
        turn.passes(port, "127.0.0.1", &format!("{how} {to_v4}"));
        turn.passes(port, "127.0.0.1", &format!("{how} -s {to_v4}"));
        turn.passes(port, "::1", &format!("{how} {to_v6}"));
        // A pair of ports for RTP and RTCP (EVEN-PORT, RESERVATION-TOKEN).
        turn.passes(port, "127.0.0.1", &format!("{how} -e 127.0.0.1 -r {} -n 20 -m 2 -z 5", v4.1));
        // DONT-FRAGMENT, more requests than needed, and padded ChannelData.
        turn.passes(port, "127.0.0.1", &format!("{how} -g -G -D {to_v4}"));
    }
    assert!(turn.figure("vidicon_turn_packets_total") > 1000.0);
}

#[test]
fn clients_of_a_channel_reach_each_other_and_no_one_else() {
    let folder = tempfile::tempdir().unwrap();
    let turn = start(folder.path(), "");
    for (port, how) in [(turn.udp, ""), (turn.tcp, "-t"), (turn.tls, "-t -S")] {
        turn.passes(port, "127.0.0.1", &format!("{how} -y -c -n 20 -m 2 -l 300"));
    }
    // A peer of this machine is none, whatever it is called.
    let Some(echo) = Echo::start("127.0.0.1") else { return };
    for host in ["127.0.0.1", "127.0.0.2"] {
        let said = turn.client(turn.udp, "127.0.0.1", &format!("-e {host} -r {} -c -n 2 -m 1", echo.1)).unwrap();
        assert!(said.contains("403"), "{host}: {said}");
    }
    // Nor does a wrong password help.
    let mut stranger = turn;
    stranger.password = stranger.password.replace(|c: char| c.is_ascii_lowercase(), "A");
    let said = stranger.client(stranger.udp, "127.0.0.1", "-y -c -n 2 -m 2").unwrap();
    assert!(said.contains("401") || said.contains("Cannot complete Allocation"), "{said}");
}

#[test]
fn coturns_stun_client_learns_its_address() {
    let Some(mut client) = coturn("turnutils_stunclient") else { return };
    let folder = tempfile::tempdir().unwrap();
    let turn = start(folder.path(), "");
    let said = client.args(["-p", &turn.udp.to_string(), "127.0.0.1"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("UDP reflexive addr: 127.0.0.1:"), "{said}");
}

fn resident(turn: &Turn) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/statm", turn.server.child.id())).unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Requests of nobody: they leave nothing behind, and are not answered with more than they are.
#[test]
fn a_flood_holds_no_memory_and_gets_less_than_it_sends() {
    let folder = tempfile::tempdir().unwrap();
    let turn = start(folder.path(), "");
    let to = SocketAddr::from(([127, 0, 0, 1], turn.udp));
    let mut allocate = vec![0, 3, 0, 8, 0x21, 0x12, 0xa4, 0x42];
    allocate.extend_from_slice(&[0; 12]);
    allocate.extend_from_slice(&[0, 0x19, 0, 4, 17, 0, 0, 0]);
    let (mut sent, mut got) = (0usize, 0usize);
    let mut flood = |rounds: u32| {
        for round in 0..rounds {
            // Many ports of many addresses of this machine.
            let from = SocketAddr::from(([127, 0, (round >> 8) as u8, round as u8 | 1], 0));
            let socket = UdpSocket::bind(from).unwrap();
            socket.set_nonblocking(true).unwrap();
            let mut buffer = [0; 2048];
            for n in 0..50u32 {
                allocate[8..12].copy_from_slice(&round.to_be_bytes());
                allocate[12..16].copy_from_slice(&n.to_be_bytes());
                // Every other is a Binding request.
                let request = if n % 2 == 0 { allocate.clone() } else { [&[0, 1, 0, 0], &allocate[4..20]].concat() };
                sent += socket.send_to(&request, to).unwrap();
                while let Ok(n) = socket.recv(&mut buffer) {
                    got += n;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
            while let Ok(n) = socket.recv(&mut buffer) {
                got += n;
            }
        }
    };
    flood(500);
    let before = resident(&turn);
    flood(2000);
    let grown = resident(&turn).saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more");
    assert!(got > 0 && got <= sent, "{got} bytes for {sent}");
    assert_eq!(turn.figure("vidicon_turn_allocations"), 0.0);
}

#[test]
fn turn_over_tls_needs_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("vidicon.toml");
    for (text, word) in [
        ("[turn]\ntls = \"127.0.0.1:0\"\n", "tls.certificate"),
        ("[turn]\nallow_peers = [\"10.0.0.0/40\"]\n", "10.0.0.0/40"),
        ("[turn]\nmin_port = 80\n", "turn.min_port"),
        ("[turn]\ncredentials_s = 5\n", "turn.credentials_s"),
        ("[turn]\nrealm = \"a b\"\n", "turn.realm"),
    ] {
        std::fs::write(&config, text).unwrap();
        let done = serve(&folder.path().join("data")).arg("--config").arg(&config).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.code() == Some(2) && said.contains(word), "{text}: {said}");
    }
}

#[test]
fn without_turn_there_are_no_servers() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(serve_with(folder.path(), "[turn]\nenabled = false\n"));
    let (_, made) = server.request("POST", "/createSignalingChannel", Some(json!({"ChannelName": "door"})));
    let asked = json!({"ChannelARN": made["ChannelARN"]});
    assert_eq!(server.request("POST", "/v1/get-ice-server-config", Some(asked)), (200, json!({"IceServerList": []})));
}

fn serve_with(folder: &Path, text: &str) -> Command {
    let config = folder.join("vidicon.toml");
    std::fs::write(&config, text).unwrap();
    let mut command = serve(&folder.join("data"));
    command.arg("--config").arg(config);
    command
}
