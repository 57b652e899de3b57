//! A viewer in a network behind a NAT that lets no UDP out: three network namespaces, real packets. It gets its picture through TURN over TLS and over TCP, and not
//! without; and `ice-test` there says so.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{KEY, SECRET, basic, eventually, python};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const SERVER: &str = "198.18.2.2";

/// Namespaces of a viewer, of its NAT, and of the server, in a row.
struct Networks {
    names: [String; 3],
}

impl Networks {
    /// `None`, with a line, where this system or its user cannot make them.
    fn make() -> Option<Networks> {
        // The tests of this file run beside each other.
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let id = format!("{}n{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let may = format!("nft --version && ip netns add vd{id} && ip netns delete vd{id}");
        let output = Command::new("sh").args(["-c", &may]).output().unwrap();
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            eprintln!("skipped: network namespaces and nft are needed: {}", why.trim());
            return None;
        }
        let networks = Networks { names: ["viewer", "nat", "server"].map(|name| format!("vd{id}{name}")) };
        let [viewer, nat, server] = &networks.names;
        let rules = "table ip n {\n chain p {\n type nat hook postrouting priority 100; oifname outside masquerade;\n }\n}\n\
             table inet f {\n chain f {\n type filter hook forward priority 0; meta l4proto udp counter drop;\n }\n}\n";
        let script = format!(
            "set -e
             for n in {viewer} {nat} {server}; do ip netns add $n; ip -n $n link set lo up; done
             ip -n {viewer} link add name eth0 type veth peer name inside netns {nat}
             ip -n {nat} link add name outside type veth peer name eth0 netns {server}
             ip -n {viewer} addr add 198.18.1.2/24 dev eth0; ip -n {viewer} link set eth0 up
             ip -n {nat} addr add 198.18.1.1/24 dev inside; ip -n {nat} link set inside up
             ip -n {nat} addr add 198.18.2.1/24 dev outside; ip -n {nat} link set outside up
             ip -n {server} addr add {SERVER}/24 dev eth0; ip -n {server} link set eth0 up
             ip -n {viewer} route add default via 198.18.1.1
             ip netns exec {nat} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
             ip netns exec {nat} nft '{rules}'"
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(networks)
    }

    fn run(&self, network: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[network], program]);
        command
    }

    /// Datagrams that the NAT did not let through.
    fn held_back(&self) -> u64 {
        let output = self.run(1, "nft").args(["list", "chain", "inet", "f", "f"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut words = text.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "delete", name]).stderr(Stdio::null()).status();
        }
    }
}

/// The demo, or another server, in the server's network.
struct Demo(Child);

impl Demo {
    fn start(networks: &Networks, data: &Path, config: &Path) -> Demo {
        let mut command = networks.run(2, env!("CARGO_BIN_EXE_vidicon"));
        command
            .arg("demo")
            .arg("--config")
            .arg(config)
            .arg("--data")
            .arg(data)
            .args(["--listen", &format!("{SERVER}:8080")]);
        command.env("VIDICON_ROOT_ACCESS_KEY_ID", KEY).env("VIDICON_ROOT_SECRET_ACCESS_KEY", SECRET);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().map(Result::unwrap).any(|line| line.starts_with("Alerts that"));
        assert!(ready, "{:?}", child.wait());
        std::thread::spawn(move || lines.for_each(drop));
        Demo(child)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // The process that stands for it is `ip`, which has become the server.
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = common::wait(&mut self.0, Duration::from_secs(8));
        let _ = self.0.kill();
    }
}

#[test]
fn a_viewer_behind_a_nat_without_udp_gets_its_picture_through_turn() {
    let Some(python) = python() else { return };
    let Some(networks) = Networks::make() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = (folder.path().join("data"), folder.path().join("vidicon.toml"));
    std::fs::write(
        &config,
        format!(
            "[tls]\nlocal = true\nlisten = \"{SERVER}:8443\"\n[turn]\ntcp = \"{SERVER}:3478\"\ntls = \"{SERVER}:5349\"\n"
        ),
    )
    .unwrap();
    let _demo = Demo::start(&networks, &data, &config);

    let url = format!("https://{SERVER}:8443");
    let ca = data.join("tls/ca.pem");
    let authorization = basic(KEY, SECRET);
    let asked = |route: &str, body: Option<serde_json::Value>| -> Output {
        let mut curl = networks.run(0, "curl");
        curl.args(["-sS", "--max-time", "10", "--cacert"])
            .arg(&ca)
            .args(["-H", &format!("authorization: {authorization}")]);
        if let Some(body) = body {
            curl.args(["-H", "content-type: application/json", "-d", &body.to_string()]);
        }
        curl.arg(format!("{url}{route}")).output().unwrap()
    };
    let made = asked("/createSignalingChannel", Some(json!({"ChannelName": "far"})));
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap_or_else(|_| panic!("{made:?}"));
    let channel = made["ChannelARN"].as_str().unwrap();
    eventually("the camera is live", Duration::from_secs(30), || {
        let told = asked("/v1/cameras/street", None);
        let camera: serde_json::Value = serde_json::from_slice(&told.stdout).ok()?;
        (camera["status"]["state"] == "live").then_some(())
    });
    let watch = |scheme: &str| {
        let mut viewer = networks.run(0, &python);
        viewer.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nat_viewer.py"));
        viewer.args([&url, &authorization, "street", channel, scheme, "60"]).env("SSL_CERT_FILE", &ca);
        let output = viewer.output().unwrap();
        (
            output.status.code(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    let (code, said) = watch("none");
    assert_eq!(code, Some(3), "without TURN there is no way: {said}");
    assert!(networks.held_back() > 0, "checks over UDP were tried");
    for scheme in ["turns:", "turn:"] {
        let (code, said) = watch(scheme);
        assert_eq!(code, Some(0), "by {scheme} {said}");
        eprintln!("by {scheme} {said}");
    }
}

#[test]
fn ice_test_says_what_a_nat_without_udp_leaves() {
    let Some(networks) = Networks::make() else { return };
    // A private address: the command line goes to no reserved one.
    const SERVER: &str = "10.78.2.2";
    let [_, nat, server] = &networks.names;
    for words in
        [format!("-n {server} addr add {SERVER}/32 dev eth0"), format!("-n {nat} route add {SERVER}/32 dev outside")]
    {
        assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "{words}");
    }
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = (folder.path().join("data"), folder.path().join("vidicon.toml"));
    let text = format!(
        "listen = \"{SERVER}:8080\"\n[tls]\nlocal = true\nlisten = \"{SERVER}:8443\"\n[turn]\ntcp = \"{SERVER}:3478\"\ntls = \"{SERVER}:5349\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut serve = networks.run(2, env!("CARGO_BIN_EXE_vidicon"));
    serve.args(["serve", "--log", "warn", "--data"]).arg(&data).arg("--config").arg(&config);
    serve.env("VIDICON_ROOT_ACCESS_KEY_ID", KEY).env("VIDICON_ROOT_SECRET_ACCESS_KEY", SECRET);
    let _serving = Demo(serve.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());

    // Whether each way works, and what is said of it.
    let test = || -> Option<Vec<serde_json::Value>> {
        let mut command = networks.run(0, env!("CARGO_BIN_EXE_vidicon"));
        command.args(["ice-test", "--json", "--wait", "1", "--url", &format!("https://{SERVER}:8443"), "--ca"]);
        command.arg(data.join("tls/ca.pem"));
        command.env("VIDICON_ROOT_ACCESS_KEY_ID", KEY).env("VIDICON_ROOT_SECRET_ACCESS_KEY", SECRET);
        let done = command.output().unwrap();
        let told: serde_json::Value = serde_json::from_slice(&done.stdout).ok()?;
        let ways = told["ways"].as_array().unwrap().clone();
        assert_eq!(done.status.code(), Some(i32::from(ways.iter().any(|way| way["works"] == false))), "{told}");
        Some(ways)
    };
    let works = |ways: &[serde_json::Value]| ways.iter().map(|way| way["works"] == true).collect::<Vec<_>>();
    let blocked = eventually("the server answers", Duration::from_secs(30), test);
    assert_eq!(works(&blocked), [false, false, true, true], "{blocked:?}");
    for way in &blocked[..2] {
        assert!(way["reason"].as_str().unwrap().contains(&format!("UDP to {SERVER}:")), "{way}");
    }
    let let_through = networks.run(1, "nft").args(["flush", "chain", "inet", "f", "f"]).status().unwrap();
    assert!(let_through.success());
    let open = test().unwrap();
    assert_eq!(works(&open), [true; 4], "{open:?}");
    // The NAT's address, not the client's.
    assert!(open[0]["seen_as"].as_str().unwrap().starts_with("198.18.2.1:"), "{open:?}");
}
