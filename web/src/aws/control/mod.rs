//! The control plane (`kinesisvideo`, 2017-09-30): streams, channels, their tags and configurations, and where to go on.

mod create;
mod edge;
mod endpoints;
mod images;
mod notification;
mod streams;
mod tags;
mod update;

use crate::{
    auth::access::Action,
    routes::{Route, operation},
};
use axum::routing::post;

/// Its operations (REFERENCE §1.3).
pub(crate) const ROUTES: &[Route] = &[
    operation("CreateStream", "/createStream", Action::named("kinesisvideo:CreateStream"), || post(create::create)),
    operation("DeleteStream", "/deleteStream", Action::named("kinesisvideo:DeleteStream"), || post(create::delete)),
    operation("UpdateStream", "/updateStream", Action::named("kinesisvideo:UpdateStream"), || post(update::stream)),
    operation("UpdateDataRetention", "/updateDataRetention", Action::named("kinesisvideo:UpdateDataRetention"), || {
        post(update::retention)
    }),
    operation(
        "DescribeStreamStorageConfiguration",
        "/describeStreamStorageConfiguration",
        Action::named("kinesisvideo:DescribeStreamStorageConfiguration"),
        || post(update::describe_storage),
    ),
    operation(
        "UpdateStreamStorageConfiguration",
        "/updateStreamStorageConfiguration",
        Action::named("kinesisvideo:UpdateStreamStorageConfiguration"),
        || post(update::storage),
    ),
    operation("TagStream", "/tagStream", Action::named("kinesisvideo:TagStream"), || post(tags::tag_stream)),
    operation("UntagStream", "/untagStream", Action::named("kinesisvideo:UntagStream"), || post(tags::untag_stream)),
    operation("ListTagsForStream", "/listTagsForStream", Action::named("kinesisvideo:ListTagsForStream"), || {
        post(tags::list_for_stream)
    }),
    operation("TagResource", "/TagResource", Action::named("kinesisvideo:TagResource"), || post(tags::tag_resource)),
    operation("UntagResource", "/UntagResource", Action::named("kinesisvideo:UntagResource"), || {
        post(tags::untag_resource)
    }),
    operation("ListTagsForResource", "/ListTagsForResource", Action::named("kinesisvideo:ListTagsForResource"), || {
        post(tags::list_for_resource)
    }),
    operation("DescribeStream", "/describeStream", Action::named("kinesisvideo:DescribeStream"), || {
        post(streams::describe)
    }),
    operation("ListStreams", "/listStreams", Action::named("kinesisvideo:ListStreams"), || post(streams::list)),
    operation("GetDataEndpoint", "/getDataEndpoint", Action::named("kinesisvideo:GetDataEndpoint"), || {
        post(endpoints::data)
    }),
    operation(
        "DescribeNotificationConfiguration",
        "/describeNotificationConfiguration",
        Action::named("kinesisvideo:DescribeNotificationConfiguration"),
        || post(notification::describe),
    ),
    operation(
        "UpdateNotificationConfiguration",
        "/updateNotificationConfiguration",
        Action::named("kinesisvideo:UpdateNotificationConfiguration"),
        || post(notification::update),
    ),
    operation(
        "DescribeImageGenerationConfiguration",
        "/describeImageGenerationConfiguration",
        Action::named("kinesisvideo:DescribeImageGenerationConfiguration"),
        || post(images::describe),
    ),
    operation(
        "UpdateImageGenerationConfiguration",
        "/updateImageGenerationConfiguration",
        Action::named("kinesisvideo:UpdateImageGenerationConfiguration"),
        || post(images::update),
    ),
    operation(
        "StartEdgeConfigurationUpdate",
        "/startEdgeConfigurationUpdate",
        Action::named("kinesisvideo:StartEdgeConfigurationUpdate"),
        || post(edge::start),
    ),
    operation(
        "DescribeEdgeConfiguration",
        "/describeEdgeConfiguration",
        Action::named("kinesisvideo:DescribeEdgeConfiguration"),
        || post(edge::describe),
    ),
    operation(
        "DeleteEdgeConfiguration",
        "/deleteEdgeConfiguration",
        Action::named("kinesisvideo:DeleteEdgeConfiguration"),
        || post(edge::delete),
    ),
    operation(
        "ListEdgeAgentConfigurations",
        "/listEdgeAgentConfigurations",
        Action::named("kinesisvideo:ListEdgeAgentConfigurations"),
        || post(edge::list),
    ),
];
