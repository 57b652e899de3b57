//! ICE candidates in what peers signal to each other: JSON of a candidate, or a whole description (RFC 8839 §5.1).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};

/// Candidates of one message that count.
const MOST: usize = 64;

/// What a message of a channel carries, whose keys may be written in any case.
pub(crate) fn payload(message: &str) -> Option<String> {
    let Value::Object(members) = serde_json::from_str(message).ok()? else { return None };
    let (_, payload) = members.iter().find(|(key, _)| key.eq_ignore_ascii_case("messagePayload"))?;
    String::from_utf8(STANDARD.decode(payload.as_str()?).ok()?).ok()
}

/// The UDP addresses of all candidates in a text, whatever is round them.
pub(crate) fn candidates(text: &str) -> impl Iterator<Item = SocketAddr> + use<'_> {
    text.split("candidate:").skip(1).take(MOST).filter_map(|rest| {
        // foundation, component, transport, priority, address, port
        let mut words = rest.split(' ').skip(2);
        let transport = words.next()?;
        let ip: IpAddr = words.nth(1)?.parse().ok()?;
        let port = words.next()?.parse().ok()?;
        transport.eq_ignore_ascii_case("udp").then_some(SocketAddr::new(ip, port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        candidates(text).map(|addr| addr.to_string()).collect()
    }

    #[test]
    fn candidates_of_a_message_and_of_a_description() {
        let one = r#"{"candidate":"candidate:842163049 1 udp 1677729535 192.168.1.5 50000 typ srflx raddr 0.0.0.0 rport 0 generation 0","sdpMid":"0","sdpMLineIndex":0}"#;
        assert_eq!(found(one), ["192.168.1.5:50000"]);
        let sdp = r#"{"type":"offer","sdp":"v=0\r\na=candidate:1 1 UDP 1 10.0.0.7 4000 typ host\r\na=candidate:2 1 tcp 1 10.0.0.7 9 typ host tcptype active\r\na=candidate:3 1 udp 1 fd00::1 4001 typ host\r\n"}"#;
        assert_eq!(found(sdp), ["10.0.0.7:4000", "[fd00::1]:4001"]);
    }

    #[test]
    fn the_payload_of_a_message() {
        let text = r#"{"action":"ICE_CANDIDATE","MessagePayload":"eyJjYW5kaWRhdGUiOiJ4In0=","recipientClientId":"a"}"#;
        assert_eq!(payload(text).as_deref(), Some(r#"{"candidate":"x"}"#));
        for text in
            ["", "[]", "{}", r#"{"messagePayload":1}"#, r#"{"messagePayload":"%"}"#, r#"{"messagePayload":"/w=="}"#]
        {
            assert_eq!(payload(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_passed_over() {
        for text in [
            "",
            "candidate:",
            "candidate:1 1 udp",
            "candidate:1 1 udp 1 abc.local 5000 typ host",
            "candidate:1 1 udp 1 10.0.0.1 99999 typ host",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
        assert_eq!(found(&"candidate:1 1 udp 1 10.0.0.1 5000 typ host ".repeat(1000)).len(), MOST);
    }
}
