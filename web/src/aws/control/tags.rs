//! Tags: `TagStream`, `UntagStream`, `ListTagsForStream` of a stream by name or ARN; `TagResource`, `UntagResource`,
//! `ListTagsForResource` of anything that has an ARN.

use crate::{
    auth::{
        Caller,
        access::Granted,
        identity::{Resource, Tags},
    },
    aws::{
        Error, Json, Target,
        arn::{self, Arn},
        channels,
        json::done,
        records::StreamRecord,
        tags::{self, Tag},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TagStream {
    #[serde(flatten)]
    target: Target,
    tags: Tags,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UntagStream {
    #[serde(flatten)]
    target: Target,
    tag_key_list: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListForStream {
    #[serde(flatten)]
    target: Target,
    next_token: Option<String>,
}

/// The member by which the operations on anything that has an ARN name it.
const MEMBER: &str = "ResourceARN";

/// All tags of a thing: at most 50, so that there is no next page.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listed {
    tags: Tags,
}

/// These operations have a name of their own for an ARN that is none.
fn of_stream(target: Target) -> Result<Target, Error> {
    if let Some(text) = &target.stream_arn {
        let refused = |e: Error| Error::new("InvalidResourceFormatException", e.message);
        Arn::of(arn::Resource::Stream, "StreamARN", text).map_err(refused)?;
    }
    Ok(target)
}

/// A token can only be one of another listing.
fn no_token(caller: &Caller, token: Option<String>) -> Result<(), Error> {
    match token.filter(|token| !token.is_empty()) {
        Some(token) => caller.shared.aws.pages.open("tags", &token),
        None => Ok(()),
    }
}

async fn tag(granted: &Granted, added: &Tags) -> Result<Json<Value>, Error> {
    StreamRecord::change(&granted.app()?.store, granted.id(), |record| tags::add(&mut record.tags, added)).await?;
    Ok(done())
}

async fn untag(granted: &Granted, keys: &[String]) -> Result<Json<Value>, Error> {
    let remove = |record: &mut StreamRecord| {
        keys.iter().for_each(|key| drop(record.tags.remove(key)));
        Ok(())
    };
    StreamRecord::change(&granted.app()?.store, granted.id(), remove).await?;
    Ok(done())
}

async fn listed(granted: &Granted) -> Result<Json<Listed>, Error> {
    let record = StreamRecord::read(&granted.app()?.store, granted.id()).await?;
    Ok(Json(Listed { tags: record.tags }))
}

/// The tags that a request gives, as policies see them.
fn giving(tags: &Tags) -> Resource {
    Resource { request_tags: tags.clone(), ..Resource::default() }
}

/// The keys of tags that a request takes away, as policies see them.
fn taking(keys: &[String]) -> Resource {
    Resource { removed_tags: keys.to_vec(), ..Resource::default() }
}

pub(crate) async fn tag_stream(caller: Caller, Json(input): Json<TagStream>) -> Result<Json<Value>, Error> {
    let target = of_stream(input.target)?;
    tags::check_map("Tags", &input.tags)?;
    tags::some("Tags", &input.tags)?;
    tag(&target.resolve_to_tag(&caller, &giving(&input.tags)).await?, &input.tags).await
}

pub(crate) async fn untag_stream(caller: Caller, Json(input): Json<UntagStream>) -> Result<Json<Value>, Error> {
    let target = of_stream(input.target)?;
    tags::check_removed("TagKeyList", &input.tag_key_list)?;
    untag(&target.resolve_to_tag(&caller, &taking(&input.tag_key_list)).await?, &input.tag_key_list).await
}

pub(crate) async fn list_for_stream(caller: Caller, Json(input): Json<ListForStream>) -> Result<Json<Listed>, Error> {
    let granted = of_stream(input.target)?.resolve(&caller).await?;
    no_token(&caller, input.next_token)?;
    listed(&granted).await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TagResource {
    #[serde(rename = "ResourceARN")]
    resource_arn: String,
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UntagResource {
    #[serde(rename = "ResourceARN")]
    resource_arn: String,
    tag_key_list: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListForResource {
    #[serde(rename = "ResourceARN")]
    resource_arn: String,
    next_token: Option<String>,
}

/// The stream of an ARN, for a caller who may do the route's action on it.
async fn stream(caller: &Caller, arn: &str, request: &Resource) -> Result<Granted, Error> {
    Target::by_arn(arn).resolve_to_tag(caller, request).await
}

pub(crate) async fn tag_resource(caller: Caller, Json(input): Json<TagResource>) -> Result<Json<Value>, Error> {
    let added = tags::of_list("Tags", input.tags)?;
    tags::some("Tags", &added)?;
    let (named, request) = (Arn::any(MEMBER, &input.resource_arn)?, giving(&added));
    match named.resource {
        arn::Resource::Stream => tag(&stream(&caller, &input.resource_arn, &request).await?, &added).await,
        arn::Resource::Channel => {
            channels::change(&caller, &named, &request, |_, record| tags::add(&mut record.tags, &added)).await?;
            Ok(done())
        }
    }
}

pub(crate) async fn untag_resource(caller: Caller, Json(input): Json<UntagResource>) -> Result<Json<Value>, Error> {
    let keys = input.tag_key_list;
    tags::check_removed("TagKeyList", &keys)?;
    let (named, request) = (Arn::any(MEMBER, &input.resource_arn)?, taking(&keys));
    match named.resource {
        arn::Resource::Stream => untag(&stream(&caller, &input.resource_arn, &request).await?, &keys).await,
        arn::Resource::Channel => {
            channels::change(&caller, &named, &request, |_, record| {
                record.tags.retain(|key, _| !keys.contains(key));
                Ok(())
            })
            .await?;
            Ok(done())
        }
    }
}

pub(crate) async fn list_for_resource(
    caller: Caller,
    Json(input): Json<ListForResource>,
) -> Result<Json<Listed>, Error> {
    let (named, request) = (Arn::any(MEMBER, &input.resource_arn)?, Resource::default());
    match named.resource {
        arn::Resource::Stream => {
            let granted = stream(&caller, &input.resource_arn, &request).await?;
            no_token(&caller, input.next_token)?;
            listed(&granted).await
        }
        arn::Resource::Channel => {
            let found = channels::find(&caller, named.name.clone(), Some(named), &request).await?;
            no_token(&caller, input.next_token)?;
            Ok(Json(Listed { tags: found.record.tags }))
        }
    }
}
