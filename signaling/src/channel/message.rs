//! The messages of a channel as they stand on the wire (REFERENCE §5.3).

use super::client_id::ClientId;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;
use std::fmt;

/// Longest `correlationId`, in bytes.
const LONGEST_CORRELATION_ID: usize = 256;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Offer,
    Answer,
    Candidate,
}

impl Kind {
    fn of(action: &str) -> Option<Kind> {
        [Kind::Offer, Kind::Answer, Kind::Candidate].into_iter().find(|kind| kind.name() == action)
    }
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Offer => "SDP_OFFER",
            Kind::Answer => "SDP_ANSWER",
            Kind::Candidate => "ICE_CANDIDATE",
        }
    }
}

/// What a client sends. No `Debug`: a payload holds passwords of ICE.
pub(super) struct Message {
    pub(super) kind: Kind,
    /// Whom the client names; not looked at yet.
    pub(super) recipient: Option<String>,
    /// Base64 of JSON, which is none of the server's business.
    pub(super) payload: String,
    /// What the C SDK adds to its offers when it is asked to.
    pub(super) ice_servers: Option<Value>,
}

/// Why a message is refused: the `statusResponse` without the correlation id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) error_type: &'static str,
    pub(super) description: String,
}

impl Fault {
    pub(super) fn invalid(description: impl Into<String>) -> Self {
        Fault { error_type: "InvalidArgumentException", description: description.into() }
    }
    pub(super) fn limit(description: impl Into<String>) -> Self {
        Fault { error_type: "ClientLimitExceededException", description: description.into() }
    }
}

/// What can be read of a text: the correlation id, and the message or what is wrong with it.
pub(super) struct Read {
    /// Whether the text is an object of JSON at all, and could have had a correlation id.
    pub(super) is_object: bool,
    pub(super) correlation_id: Option<String>,
    pub(super) message: Result<Message, Fault>,
}

impl Read {
    /// Reads a client's text. Never fails: what is wrong is part of the result.
    pub(super) fn of(text: &str) -> Read {
        let members = match serde_json::from_str::<Members>(text) {
            Ok(members) => members,
            Err(error) => {
                let fault = Fault::invalid(format!("the message is no JSON object with texts as its members: {error}"));
                return Read { is_object: false, correlation_id: None, message: Err(fault) };
            }
        };
        let is_long = members.correlation_id.as_ref().is_some_and(|id| id.len() > LONGEST_CORRELATION_ID);
        let message = match is_long {
            true => Err(Fault::invalid(format!("correlationId has more than {LONGEST_CORRELATION_ID} characters"))),
            false => Message::of(members.action, members.recipient, members.payload, members.ice_servers),
        };
        let correlation_id = members.correlation_id.filter(|id| !id.is_empty() && !is_long);
        Read { is_object: true, correlation_id, message }
    }
}

impl Message {
    fn of(
        action: Option<String>,
        recipient: Option<String>,
        payload: Option<String>,
        ice_servers: Option<Value>,
    ) -> Result<Message, Fault> {
        let action = action.filter(|a| !a.is_empty()).ok_or_else(|| Fault::invalid("action is missing"))?;
        let kind = Kind::of(&action).ok_or_else(|| {
            let shown: String = action.chars().take(64).collect();
            Fault::invalid(format!("action is {shown:?}: it must be SDP_OFFER, SDP_ANSWER or ICE_CANDIDATE"))
        })?;
        let payload = payload.filter(|p| !p.is_empty()).ok_or_else(|| Fault::invalid("messagePayload is missing"))?;
        let recipient = recipient.filter(|r| !r.is_empty());
        let ice_servers = ice_servers.filter(|servers| kind == Kind::Offer && servers.is_array());
        Ok(Message { kind, recipient, payload, ice_servers })
    }

    /// As it is sent to its recipient. To a viewer no sender is named: the JavaScript SDK takes that for the master. The
    /// `correlation_id` is for the server itself.
    pub(super) fn relayed(&self, sender: Option<&ClientId>, correlation_id: Option<&str>) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Relayed<'a> {
            message_type: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            sender_client_id: Option<&'a str>,
            message_payload: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            correlation_id: Option<&'a str>,
            #[serde(rename = "IceServerList", skip_serializing_if = "Option::is_none")]
            ice_servers: Option<&'a Value>,
        }
        text(&Relayed {
            message_type: self.kind.name(),
            sender_client_id: sender.map(ClientId::as_str),
            message_payload: &self.payload,
            correlation_id,
            ice_servers: self.ice_servers.as_ref(),
        })
    }
}

/// `STATUS_RESPONSE`: why a message was refused. `statusCode` is a text.
pub(super) fn status_response(correlation_id: Option<&str>, fault: &Fault) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Status<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        correlation_id: Option<&'a str>,
        error_type: &'static str,
        status_code: &'static str,
        description: &'a str,
        success: bool,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Response<'a> {
        message_type: &'static str,
        status_response: Status<'a>,
    }
    let Fault { error_type, description } = fault;
    let status_code = match *error_type {
        "ResourceNotFoundException" => "404",
        "ServiceUnavailableException" => "503",
        _ => "400",
    };
    let status_response = Status { correlation_id, error_type, status_code, description, success: false };
    text(&Response { message_type: "STATUS_RESPONSE", status_response })
}

/// `GO_AWAY`: the server is about to close the socket; connect again.
pub(super) fn go_away() -> String {
    r#"{"messageType":"GO_AWAY"}"#.to_owned()
}

fn text(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("texts and values of JSON have a form in JSON")
}

/// The members that matter, by their names in any case: the C SDK writes them with capitals.
#[derive(Default)]
struct Members {
    action: Option<String>,
    recipient: Option<String>,
    payload: Option<String>,
    correlation_id: Option<String>,
    ice_servers: Option<Value>,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap;
        impl<'de> Visitor<'de> for OfMap {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Members::default();
                while let Some(name) = map.next_key::<String>()? {
                    let member = match name.to_ascii_lowercase().as_str() {
                        "action" => &mut members.action,
                        "recipientclientid" => &mut members.recipient,
                        "messagepayload" => &mut members.payload,
                        "correlationid" => &mut members.correlation_id,
                        "iceserverlist" => {
                            members.ice_servers = map.next_value()?;
                            continue;
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if member.is_some() {
                        return Err(de::Error::custom(format!("{} is given twice", name.to_ascii_lowercase())));
                    }
                    *member = map.next_value()?;
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(OfMap)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    fn refused(text: &str) -> (Option<String>, String) {
        let read = Read::of(text);
        (read.correlation_id, read.message.err().unwrap().description)
    }

    #[test]
    fn members_are_read_in_any_case_and_the_payload_is_left_alone() {
        let of = |text: &str| {
            let read = Read::of(text);
            (read.correlation_id, read.message.ok().unwrap())
        };
        // As the JavaScript SDK writes it, and as the C SDK does.
        let js = r#"{"action":"SDP_ANSWER","messagePayload":"e30=","recipientClientId":"v1","correlationId":"7"}"#;
        let c = r#"{"action":"SDP_ANSWER","RecipientClientId":"v1","MessagePayload":"e30=","CorrelationId":"7","more":[{}]}"#;
        for text in [js, c] {
            let (id, message) = of(text);
            assert_eq!(
                (id.as_deref(), message.kind, message.recipient.as_deref()),
                (Some("7"), Kind::Answer, Some("v1"))
            );
            assert_eq!(message.payload, "e30=");
        }
        let (id, message) =
            of(r#"{"action":"SDP_OFFER","messagePayload":"\u00e4\"","recipientClientId":"","correlationId":""}"#);
        assert_eq!((id, message.recipient), (None, None), "the C SDK writes empty texts for what is not there");
        let relayed: Value = serde_json::from_str(&Message { recipient: None, ..message }.relayed(None, None)).unwrap();
        assert_eq!(relayed, json!({"messageType": "SDP_OFFER", "messagePayload": "ä\""}));
    }

    #[test]
    fn what_is_sent_to_a_master_names_the_viewer() {
        let servers = json!([{"Uris": ["turn:x"], "Username": "u", "Password": "p", "Ttl": 300}]);
        let sent = json!({"action": "SDP_OFFER", "MessagePayload": "e30=", "IceServerList": servers});
        let message = Read::of(&sent.to_string()).message.ok().unwrap();
        let relayed: Value = serde_json::from_str(&message.relayed(Some(&"v1".parse().unwrap()), None)).unwrap();
        let wanted = json!({"messageType": "SDP_OFFER", "senderClientId": "v1", "messagePayload": "e30=", "IceServerList": servers});
        assert_eq!(relayed, wanted);
        let candidate = r#"{"action":"ICE_CANDIDATE","messagePayload":"e30=","IceServerList":[1]}"#;
        assert!(Read::of(candidate).message.ok().unwrap().ice_servers.is_none(), "of offers alone");
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let id = |text: &str| Some(text.to_owned());
        let (correlation, told) = refused(r#"{"action":"DANCE","messagePayload":"e30=","correlationId":"7"}"#);
        assert_eq!(correlation, id("7"));
        assert!(told.starts_with("action is \"DANCE\""), "{told}");
        assert_eq!(refused(r#"{"messagePayload":"x","correlationId":"7"}"#), (id("7"), "action is missing".into()));
        let (correlation, told) = refused(r#"{"action":"SDP_OFFER","correlationId":"7","messagePayload":""}"#);
        assert_eq!((correlation, told.as_str()), (id("7"), "messagePayload is missing"));
        let long = json!({"action": "SDP_OFFER", "messagePayload": "x", "correlationId": "7".repeat(257)});
        assert_eq!(refused(&long.to_string()).0, None);
        for text in ["", "null", "[]", "{", r#"{"action":5}"#, r#"{"action":"a","Action":"b"}"#] {
            assert!(!Read::of(text).is_object, "{text}");
        }
        assert!(refused(r#"{"action":"a","Action":"b"}"#).1.contains("action is given twice"));
    }

    #[test]
    fn a_status_response_has_its_code_as_a_text() {
        let sent: Value = serde_json::from_str(&status_response(Some("7"), &Fault::invalid("because"))).unwrap();
        let status = json!({"correlationId": "7", "errorType": "InvalidArgumentException", "statusCode": "400",
            "description": "because", "success": false});
        assert_eq!(sent, json!({"messageType": "STATUS_RESPONSE", "statusResponse": status}));
        assert!(!status_response(None, &Fault::limit("x")).contains("correlationId"));
        assert!(go_away().contains("GO_AWAY"));
    }
}
