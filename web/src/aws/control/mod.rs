//! The control plane (`kinesisvideo`, 2017-09-30): streams, channels, their tags and configurations, and where to go on.

mod endpoints;

use crate::{
    auth::access::Action,
    routes::{Route, operation},
};
use axum::routing::post;

/// Its operations (REFERENCE §1.3).
pub(crate) const ROUTES: &[Route] =
    &[operation("GetDataEndpoint", "/getDataEndpoint", Action::Read, || post(endpoints::data))];
