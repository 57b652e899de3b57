//! `GetSignalingChannelEndpoint`: one listener serves everything, so all of them are this server. A master and a viewer are told
//! apart when they connect: a viewer has a client id (REFERENCE §5.1).

use super::{storage, target::by_arn};
use crate::{
    auth::Caller,
    aws::{Error, Json, endpoints::Base},
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Protocol {
    Wss,
    Https,
    Webrtc,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Role {
    Master,
    Viewer,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GetEndpoint {
    #[serde(rename = "ChannelARN")]
    channel_arn: String,
    single_master_channel_endpoint_configuration: Option<Configuration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    protocols: Option<Vec<Protocol>>,
    #[serde(rename = "Role")]
    _role: Option<Role>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Endpoints {
    resource_endpoint_list: Vec<Endpoint>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    protocol: Protocol,
    resource_endpoint: String,
}

pub(crate) async fn get(caller: Caller, base: Base, Json(input): Json<GetEndpoint>) -> Result<Json<Endpoints>, Error> {
    let asked = input.single_master_channel_endpoint_configuration.and_then(|c| c.protocols);
    let mut protocols = asked.unwrap_or_else(|| vec![Protocol::Wss, Protocol::Https]);
    if !(1..=5).contains(&protocols.len()) {
        let member = "SingleMasterChannelEndpointConfiguration.Protocols";
        return Err(Error::constraint(member, "Member must have 1 to 5 protocols"));
    }
    let found = by_arn(&caller, "ChannelARN", &input.channel_arn).await?;
    if protocols.contains(&Protocol::Webrtc) && storage::stream_of(&found).is_none() {
        return Err(Error::invalid(format!(
            "WEBRTC: channel {} is not configured for ingestion: UpdateMediaStorageConfiguration names the stream to store in",
            found.name
        )));
    }
    let mut seen = Vec::new();
    protocols.retain(|p| {
        !seen.contains(p) && {
            seen.push(*p);
            true
        }
    });
    let endpoint = |protocol| Endpoint {
        protocol,
        resource_endpoint: match protocol {
            Protocol::Wss => base.websocket(),
            Protocol::Https | Protocol::Webrtc => base.http(),
        },
    };
    Ok(Json(Endpoints { resource_endpoint_list: protocols.into_iter().map(endpoint).collect() }))
}
