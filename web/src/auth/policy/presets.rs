//! Policies that every installation has, by name. Written as documents, so that they are read like any other and can be copied.

use super::Policy;
use media::StreamName;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};

/// The names of the presets: a key or role may name them like policies of its own, which therefore cannot have these names.
pub const NAMES: [&str; 6] = ["camera", "master", "viewer", "playback", "analytics", "admin"];

/// The document of a preset. `camera` and `master` are for the stream or channel that has the name of the device
/// (`${vidicon:device}`): the tag `device` of a key, role or session, else the name of the thing or user.
pub(crate) fn document(name: &str) -> Option<Value> {
    let (resource, actions): (&str, &[&str]) = match name {
        "camera" => (
            "arn:aws:kinesisvideo:*:*:stream/${vidicon:device}/*",
            &["DescribeStream", "CreateStream", "TagStream", "GetDataEndpoint", "PutMedia", "vidicon:ClosePublisher"],
        ),
        "master" => (
            "arn:aws:kinesisvideo:*:*:channel/${vidicon:device}/*",
            &[
                "DescribeSignalingChannel",
                "CreateSignalingChannel",
                "GetSignalingChannelEndpoint",
                "GetIceServerConfig",
                "ConnectAsMaster",
                "DescribeMediaStorageConfiguration",
                "JoinStorageSession",
            ],
        ),
        "viewer" => (
            "arn:aws:kinesisvideo:*:*:channel/*",
            &[
                "DescribeSignalingChannel",
                "GetSignalingChannelEndpoint",
                "GetIceServerConfig",
                "ConnectAsViewer",
                "DescribeMediaStorageConfiguration",
                "JoinStorageSessionAsViewer",
            ],
        ),
        "playback" => (
            "arn:aws:kinesisvideo:*:*:stream/*",
            &[
                "DescribeStream",
                "GetDataEndpoint",
                "GetHLSStreamingSessionURL",
                "GetDASHStreamingSessionURL",
                "GetClip",
                "GetImages",
                "ListFragments",
                "vidicon:WatchStream",
                "vidicon:CloseViewer",
            ],
        ),
        "analytics" => (
            "arn:aws:kinesisvideo:*:*:stream/*",
            &[
                "DescribeStream",
                "GetDataEndpoint",
                "GetMedia",
                "ListFragments",
                "GetMediaForFragmentList",
                "vidicon:ListDetections",
            ],
        ),
        "admin" => ("*", &["*"]),
        _ => return None,
    };
    let full = |action: &&str| match action.contains([':', '*']) {
        true => (*action).to_owned(),
        false => format!("kinesisvideo:{action}"),
    };
    let actions: Vec<String> = actions.iter().map(full).collect();
    Some(json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": resource}],
    }))
}

/// What a preset is for, for people.
pub(crate) fn description(name: &str) -> Option<&'static str> {
    Some(match name {
        "camera" => "Makes and feeds the stream that has the name of the device.",
        "master" => "Makes the signalling channel that has the name of the device, and is its master.",
        "viewer" => "Joins signalling channels as a viewer.",
        "playback" => "Plays streams, live and recorded.",
        "analytics" => "Reads the media of streams as it was recorded, and detections.",
        "admin" => "Everything, keys and roles included.",
        _ => return None,
    })
}

/// The document of a preset for the stream or channel of one name alone; `None` for *admin*, and where there is no such preset.
pub fn narrowed(preset: &str, name: &StreamName) -> Option<Value> {
    let mut document = document(preset)?;
    let resource = document["Statement"][0]["Resource"].as_str()?;
    let (kind, _) = resource.rsplit_once(":")?.1.split_once('/')?;
    let resource = format!("arn:aws:kinesisvideo:*:*:{kind}/{name}/*");
    document["Statement"][0]["Resource"] = resource.into();
    Some(document)
}

/// A preset, read once.
pub(crate) fn policy(name: &str) -> Option<Arc<Policy>> {
    static READ: [OnceLock<Arc<Policy>>; NAMES.len()] = [const { OnceLock::new() }; NAMES.len()];
    let at = NAMES.iter().position(|known| *known == name)?;
    let read = || {
        let document = document(name).expect("each name has a document").to_string();
        Arc::new(Policy::parse(&document).expect("presets are sound; a test reads each"))
    };
    Some(READ[at].get_or_init(read).clone())
}
