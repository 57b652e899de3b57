//! The control plane (`kinesisvideo`, 2017-09-30): streams, channels, their tags and configurations, and where to go on.

mod endpoints;
mod notification;
mod streams;

use crate::{
    auth::access::Action,
    routes::{Route, operation},
};
use axum::routing::post;

/// Its operations (REFERENCE §1.3).
pub(crate) const ROUTES: &[Route] = &[
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
];
