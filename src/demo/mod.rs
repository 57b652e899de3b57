//! What the demo brings along: the camera with its scene, and the receiver of alerts.

pub(crate) mod camera;
mod i420;
pub(crate) mod receiver;
pub(crate) mod render;
pub(crate) mod scene;
mod sound;
