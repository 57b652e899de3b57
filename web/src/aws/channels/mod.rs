//! Signaling channels: what is kept of them and the operations of the control plane on them (REFERENCE §1.3, §1.6);
//! and which stream a channel shows ([`source`]).
//!
//! What belongs here: making, finding, changing and removing channels, and telling clients where to go on. What does not: the
//! signaling that goes through a channel.

mod endpoint;
mod fuzz;
mod lifecycle;
mod record;
mod shown;
mod source;
mod storage;
mod target;
mod update;

use crate::{
    auth::access::Action,
    routes::{Route, operation, route},
};
use axum::{
    http::Method,
    routing::{delete, get, post, put},
};
pub(crate) use fuzz::fuzz;
pub(crate) use record::{Births, ChannelRecord, ChannelType};
pub(crate) use source::stream_name;
pub(crate) use target::{Found, by_arn, change, find, named};

/// The operations on channels.
pub(crate) const ROUTES: &[Route] = &[
    operation(
        "CreateSignalingChannel",
        "/createSignalingChannel",
        Action::named("kinesisvideo:CreateSignalingChannel"),
        || post(lifecycle::create),
    ),
    operation(
        "DescribeSignalingChannel",
        "/describeSignalingChannel",
        Action::named("kinesisvideo:DescribeSignalingChannel"),
        || post(shown::describe),
    ),
    operation(
        "ListSignalingChannels",
        "/listSignalingChannels",
        Action::named("kinesisvideo:ListSignalingChannels"),
        || post(shown::list),
    ),
    operation(
        "DeleteSignalingChannel",
        "/deleteSignalingChannel",
        Action::named("kinesisvideo:DeleteSignalingChannel"),
        || post(lifecycle::delete),
    ),
    operation(
        "UpdateSignalingChannel",
        "/updateSignalingChannel",
        Action::named("kinesisvideo:UpdateSignalingChannel"),
        || post(update::update),
    ),
    operation(
        "GetSignalingChannelEndpoint",
        "/getSignalingChannelEndpoint",
        Action::named("kinesisvideo:GetSignalingChannelEndpoint"),
        || post(endpoint::get),
    ),
    operation(
        "UpdateMediaStorageConfiguration",
        "/updateMediaStorageConfiguration",
        Action::named("kinesisvideo:UpdateMediaStorageConfiguration"),
        || post(storage::update),
    ),
    operation(
        "DescribeMediaStorageConfiguration",
        "/describeMediaStorageConfiguration",
        Action::named("kinesisvideo:DescribeMediaStorageConfiguration"),
        || post(storage::describe),
    ),
    operation(
        "DescribeMappedResourceConfiguration",
        "/describeMappedResourceConfiguration",
        Action::named("kinesisvideo:DescribeMappedResourceConfiguration"),
        || post(storage::describe_mapped),
    ),
    route(Method::GET, "/v1/channels/{name}/source", Action::named("vidicon:DescribeChannelSource"), || {
        get(source::read)
    }),
    route(Method::PUT, "/v1/channels/{name}/source", Action::named("vidicon:PutChannelSource"), || put(source::set)),
    route(Method::DELETE, "/v1/channels/{name}/source", Action::named("vidicon:DeleteChannelSource"), || {
        delete(source::clear)
    }),
];
