//! What the demo brings along: the camera with its scene, and the receiver of alerts.

pub(crate) mod receiver;
