//! The signaling service: masters and viewers on WebSockets at `GET /`, and the operations of `kinesis-video-signaling`
//! (REFERENCE §1.6, §5).
//!
//! What belongs here: who may connect to which channel, the WebSockets, and the board that joins them to the pure
//! `signaling::channel::Core`. What does not: routing, bounds and times to live (the core), and what is kept of a channel
//! (`aws::channels`).

mod alexa;
mod board;
mod connect;
mod frames;
mod master;
mod presence;
mod rights;
mod socket;

use crate::{
    auth::access::Action,
    routes::{Route, operation, route},
};
use axum::{
    http::Method,
    routing::{get, post},
};

pub(crate) use board::{Board, run};
pub(crate) use connect::{connect, is_asked};
pub(crate) use frames::fuzz as fuzz_frames;
pub(crate) use master::run as run_masters;

/// The operations, and who is connected.
pub(crate) const ROUTES: &[Route] = &[
    operation(
        "SendAlexaOfferToMaster",
        "/v1/send-alexa-offer-to-master",
        Action::named("kinesisvideo:SendAlexaOfferToMaster"),
        || post(alexa::send),
    ),
    route(Method::GET, "/v1/channels/{name}/presence", Action::named("vidicon:DescribePresence"), || {
        get(presence::read)
    }),
];
