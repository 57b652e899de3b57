//! The fuzz target: a channel's clients that come, send anything, are silent and go, in any order.

use super::{ChannelId, Close, Config, Connect, Core, Frame, Role, SocketId, message::Read};
use media::UnixMillis;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Bytes as a script: one that says what happens, and what it needs; texts end with a line break. What must hold is asserted after each.
pub fn fuzz(data: &[u8]) {
    let config = Config {
        max_sockets: 6,
        max_viewers_per_channel: 3,
        kept_messages_per_channel: 8,
        kept_bytes_per_channel: 4096,
        kept_bytes: 6000,
        messages_per_s: 5,
        ..Config::default()
    };
    let mut core = Core::new(config);
    let (mut now, mut open) = (Instant::now(), Vec::<SocketId>::new());
    let channels = ["a", "b"].map(|name| ChannelId(name.into()));
    let mut rest = data;
    while let [what, tail @ ..] = rest {
        rest = tail;
        let n = usize::from(what >> 3);
        let channel = &channels[n & 1];
        let socket = open.get(n % open.len().max(1)).copied();
        match what & 7 {
            0 => {
                let role = match n >> 1 {
                    0 | 1 => Role::Master,
                    n => Role::Viewer(format!("v{}", n & 3).parse().expect("it follows the rules")),
                };
                let ttl = Duration::from_secs(5);
                let connect = Connect { channel: channel.clone(), role, ttl, since: UnixMillis(0) };
                open.extend(core.handle_connected(now, connect));
            }
            1 | 2 => {
                let text = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
                rest = rest.get(text.len() + 1..).unwrap_or_default();
                let text = String::from_utf8_lossy(text);
                let read = Read::of(&text);
                assert!(read.correlation_id.is_none_or(|id| (1..=256).contains(&id.len())));
                if let Some(socket) = socket {
                    core.handle_text(now, socket, &text);
                }
            }
            3 => {
                now += Duration::from_millis(400 * (1 + n as u64));
                core.handle_timeout(now);
                assert!(core.poll_timeout().is_none_or(|at| at > now));
            }
            4 => {
                if let Some(socket) = socket {
                    core.handle_closed(socket);
                }
            }
            5 => match (socket, n & 1) {
                (Some(socket), 0) => core.handle_alive(now, socket),
                (Some(socket), _) => core.close(socket, Close::NotAllowed),
                (None, _) => core.handle_deleted(channel),
            },
            6 => {
                let sender = format!("v{}", n & 7).parse().expect("it follows the rules");
                let offer = core.handle_offer(now, channel, sender, "e30=".into(), Duration::from_secs(3));
                if let (Ok(id), true) = (offer, n & 8 != 0) {
                    core.handle_offer_dropped(id);
                }
            }
            _ => {
                if let Some(socket) = socket {
                    drain(&mut core, now, socket, &mut open);
                }
            }
        }
        while core.poll_answered().is_some() {}
        while core.poll_changed().is_some() {}
        core.assert_sound();
    }
    core.handle_stop();
    for socket in open.clone() {
        drain(&mut core, now, socket, &mut open);
    }
    // Whatever is still kept goes when its time is over.
    core.handle_timeout(now + Duration::from_secs(3600));
    assert_eq!((core.kept_bytes(), core.sockets(), core.poll_timeout()), (0, 0, None));
}

/// Takes all that waits for a socket: each text is an object that says what it is.
fn drain(core: &mut Core, now: Instant, socket: SocketId, open: &mut Vec<SocketId>) {
    while let Some(frame) = core.poll_socket(now, socket) {
        match frame {
            Frame::Text(text) => {
                let sent: Value = serde_json::from_str(&text).expect("what is sent is JSON");
                let kind = sent["messageType"].as_str().expect("it says what it is");
                assert!(["SDP_OFFER", "SDP_ANSWER", "ICE_CANDIDATE", "STATUS_RESPONSE", "GO_AWAY"].contains(&kind));
                assert!(kind != "STATUS_RESPONSE" || sent["statusResponse"]["statusCode"] == "400");
            }
            Frame::Ping => {}
            Frame::Close(_) => open.retain(|other| *other != socket),
        }
    }
}
