//! The line in the log for each change of what callers may do: who, from where, what, and what became of it.

use crate::auth::{Caller, access::Principal};
use std::fmt::Display;

/// What is changed. Holds no secret.
pub(crate) struct Change<'a> {
    /// As a person would say it: `create key`.
    pub(crate) change: &'static str,
    /// Of what is changed.
    pub(crate) name: &'a str,
    /// The policy that is attached or detached.
    pub(crate) policy: Option<&'a str>,
}

/// What became of it.
pub(crate) enum Outcome<'a> {
    /// It is made; with the access key id that came of it.
    Done(Option<&'a str>),
    /// The caller may not.
    Refused(&'a dyn Display),
    /// It could not be made.
    Failed(&'a dyn Display),
}

/// Writes the line. What clients chose in it is quoted, so that none of it looks like another line.
pub(crate) fn audit(caller: &Caller, change: &Change<'_>, outcome: &Outcome<'_>) {
    let by = match &caller.principal {
        Principal::Root(_) => "root".to_owned(),
        Principal::Playback(_) => "a playback token".to_owned(),
        Principal::Identity(identity) => format!("{} {}", identity.arn, identity.access_key_id),
    };
    let (outcome, made, why) = match outcome {
        Outcome::Done(made) => ("done", *made, None),
        Outcome::Refused(why) => ("refused", None, Some(why.to_string())),
        Outcome::Failed(why) => ("failed", None, Some(why.to_string())),
    };
    let Change { change, name, policy } = change;
    tracing::info!(by, address = %caller.around.address, change, name, made, policy, outcome, why, "audit");
}
