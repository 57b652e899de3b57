//! From a checked address to a playing session.

use super::{Chosen, Session, explain};
use crate::{Failure, address::Server};
use bytes::Bytes;
use media::{Track, TrackKind};
use retina::client::{
    Credentials, Described, InitialSequenceNumberPolicy, InitialTimestampPolicy, PlayOptions, SessionGroup,
    SessionIdPolicy, SessionOptions, SetupOptions, TeardownPolicy, UnknownRtcpSsrcPolicy,
};
use retina::codec::{FrameFormat, ParametersRef};
use std::{net::SocketAddr, sync::Arc};
use store::records::{Camera, Transport};
use tokio::time::Instant;

type DescribedSession = retina::client::Session<Described>;

/// Connects, describes, sets up and plays, all before `deadline`.
pub(crate) async fn open(server: &Server, camera: &Camera, deadline: Instant) -> Result<Session, Failure> {
    let timed = tokio::time::timeout_at(deadline, open_untimed(server, camera)).await;
    timed.unwrap_or_else(|_| Err(Failure::new("timeout", format!("{} did not answer in time", server.shown()))))
}

async fn open_untimed(server: &Server, camera: &Camera) -> Result<Session, Failure> {
    let credentials = credentials(camera);
    let group = Arc::new(SessionGroup::default());
    let mut failure = None;
    for address in server.resolve().await? {
        match describe(server, address, &credentials, camera.transport, &group).await {
            Ok(session) => return play(session, server, camera, group).await,
            // The next address of the name may be reachable; an answer of any kind is final.
            Err(error) if matches!(error.code, "refused" | "timeout") => failure = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(failure.expect("resolve returns at least one address"))
}

fn credentials(camera: &Camera) -> Option<Credentials> {
    let username = camera.username.clone().filter(|name| !name.is_empty())?;
    let password = camera.password.as_ref().map(|secret| secret.0.clone()).unwrap_or_default();
    Some(Credentials { username, password })
}

async fn describe(
    server: &Server,
    address: SocketAddr,
    credentials: &Option<Credentials>,
    transport: Transport,
    group: &Arc<SessionGroup>,
) -> Result<DescribedSession, Failure> {
    let url = server.url_at(address)?;
    let options = |teardown| {
        SessionOptions::default()
            .creds(credentials.clone())
            .user_agent(concat!("vidicon/", env!("CARGO_PKG_VERSION")).to_owned())
            .session_group(group.clone())
            .session_id(SessionIdPolicy::UseFirst)
            .teardown(teardown)
    };
    let explain = |e: retina::Error| explain::connecting(&e, server, "DESCRIBE", credentials.is_some());
    let session = DescribedSession::describe(url.clone(), options(TeardownPolicy::Auto)).await.map_err(explain)?;
    // Where one TEARDOWN on this connection may not be enough, retina tries again on a new connection to the base URL,
    // which the camera chooses. That must not lead anywhere but to the checked address.
    let may_reconnect = transport == Transport::Udp || session.tool().is_some_and(|tool| tool.has_live555_tcp_bug());
    if !may_reconnect || leads_home(&session, address) {
        return Ok(session);
    }
    drop(session);
    DescribedSession::describe(url, options(TeardownPolicy::Never)).await.map_err(explain)
}

/// Whether all control URLs name the address that was checked.
fn leads_home(session: &DescribedSession, address: SocketAddr) -> bool {
    session.streams().iter().all(|stream| {
        stream.control().is_some_and(|url| {
            let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            host.parse() == Ok(address.ip()) && url.port().unwrap_or(554) == address.port()
        })
    })
}

async fn play(
    mut session: DescribedSession,
    server: &Server,
    camera: &Camera,
    group: Arc<SessionGroup>,
) -> Result<Session, Failure> {
    let (video, audio, remarks) = choose(&session, server)?;
    let (transport, via) = match camera.transport {
        Transport::Tcp => (retina::client::Transport::Tcp(Default::default()), "rtsp/tcp"),
        Transport::Udp => (retina::client::Transport::Udp(Default::default()), "rtsp/udp"),
    };
    let has_credentials = camera.username.is_some();
    for chosen in [Some(video), audio.as_ref().map(|(chosen, _)| *chosen)].into_iter().flatten() {
        let options = SetupOptions::default().transport(transport.clone()).frame_format(FrameFormat::MP4);
        let set_up = session.setup(chosen.stream, options).await;
        set_up.map_err(|e| explain::connecting(&e, server, "SETUP", has_credentials))?;
    }
    // Cameras name first sequence numbers, timestamps and SSRCs that they then do not use.
    let policy = PlayOptions::default()
        .initial_seq(InitialSequenceNumberPolicy::Ignore)
        .initial_timestamp(InitialTimestampPolicy::Ignore)
        .unknown_rtcp_ssrc(UnknownRtcpSsrcPolicy::DropPackets);
    let playing = session.play(policy).await.map_err(|e| explain::connecting(&e, server, "PLAY", has_credentials))?;
    let demuxed = playing.demuxed().map_err(|e| explain::connecting(&e, server, "PLAY", has_credentials))?;
    Ok(Session {
        demuxed,
        server: server.clone(),
        group,
        via,
        video,
        audio,
        remarks,
        announced: false,
        bad_packets: 0,
        pending: None,
    })
}

type Choice = (Chosen, Option<(Chosen, Track)>, Vec<String>);

/// The first H.264 stream, the first AAC stream, and a remark for each other one.
fn choose(session: &DescribedSession, server: &Server) -> Result<Choice, Failure> {
    let mut video = None;
    let mut audio = None;
    let mut remarks = Vec::new();
    let mut offered = Vec::new();
    for (index, stream) in session.streams().iter().enumerate() {
        let (media, codec) = (stream.media(), stream.encoding_name());
        let chosen = Chosen { stream: index, rate_hz: stream.clock_rate_hz() };
        let name: String = format!("{media} {codec}").chars().filter(|c| !c.is_control()).take(60).collect();
        match (media, codec) {
            ("video", "h264") if video.is_none() => video = Some(chosen),
            ("audio", "mpeg4-generic") if audio.is_none() => match audio_track(stream) {
                Some(track) => audio = Some((chosen, track)),
                None => {
                    remarks.push("AAC audio is not recorded: its parameters are missing or not understood".to_owned())
                }
            },
            ("video", "h264") | ("audio", "mpeg4-generic") => {
                remarks.push(format!("a second track of {name} is not recorded"))
            }
            _ => remarks.push(format!("a track of {name} is not recorded")),
        }
        offered.push(name);
    }
    let Some(video) = video else {
        let offered = if offered.is_empty() { "no track".to_owned() } else { offered.join(", ") };
        return Err(Failure::new(
            "no_supported_codec",
            format!("{} offers {offered}; H.264 video is what can be recorded", server.shown()),
        ));
    };
    Ok((video, audio, remarks))
}

fn audio_track(stream: &retina::client::Stream) -> Option<Track> {
    let ParametersRef::Audio(parameters) = stream.parameters()? else { return None };
    Some(Track {
        number: 2,
        kind: TrackKind::Audio,
        codec_id: Track::AAC.to_owned(),
        codec_private: Bytes::copy_from_slice(parameters.extra_data()),
        size: None,
        audio: Some((parameters.clock_rate(), u8::try_from(parameters.channels().get()).ok()?)),
    })
}
