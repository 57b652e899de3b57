//! `GetDataEndpoint`: one listener serves everything, so all of them are this server.

use crate::{
    auth::Caller,
    aws::{Error, Json, Target, endpoints::Base},
};
use serde::{Deserialize, Serialize};

/// What an endpoint is asked for. The cloud has several hosts for these; here they are one.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ApiName {
    PutMedia,
    GetMedia,
    ListFragments,
    GetMediaForFragmentList,
    GetHlsStreamingSessionUrl,
    GetDashStreamingSessionUrl,
    GetClip,
    GetImages,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GetDataEndpoint {
    #[serde(flatten)]
    target: Target,
    #[serde(rename = "APIName")]
    _api_name: ApiName,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DataEndpoint {
    data_endpoint: String,
}

pub(crate) async fn data(
    caller: Caller,
    base: Base,
    Json(input): Json<GetDataEndpoint>,
) -> Result<Json<DataEndpoint>, Error> {
    input.target.resolve(&caller).await?;
    Ok(Json(DataEndpoint { data_endpoint: base.http() }))
}
