//! The whole crate over loopback: frames go into a store, and viewers that this crate did not write get them bit for bit.
#![allow(clippy::unwrap_used)]

use crate::testing::{Camera, Viewer, frame_data, nal};
use crate::{Answer, Config, Error, Peers};
use bytes::Bytes;
use media::{Event, Frame, Start, Track, TrackKind, UnixMicros, UnixMillis};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Store, Stream, Writer};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Server {
    peers: Peers,
    store: Store,
    stop: CancellationToken,
    tasks: TaskTracker,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start(max_peers: usize) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let config = store::Config { data: folder.path().to_owned(), ..store::Config::default() };
        let store = Store::open(config, Arc::new(|| UnixMillis(1_795_413_681_000))).await.unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let config = Config { listen: Some((LOOPBACK, 0).into()), max_peers, ..Config::default() };
        let peers = Peers::start(config, store.clone(), stop.clone(), &tasks).await.unwrap();
        Server { peers, store, stop, tasks, _folder: folder }
    }

    async fn stream(&self, name: &str) -> Stream {
        self.store.create_stream(&name.parse().unwrap(), None).await.unwrap()
    }

    /// Everything ends in order, within a short time.
    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await.unwrap();
        self.store.stop().await.unwrap();
    }
}

fn write(writer: &mut Writer, camera: &mut Camera) {
    let (index, frame) = (camera.made, camera.frame());
    if frame.key {
        if index > 0 {
            writer.offer(Event::End).unwrap();
        }
        let start = Start { header: camera.header.clone(), producer_start: frame.time.to_millis(), cause: None };
        writer.offer(Event::Begin(start)).unwrap();
    }
    writer.offer(Event::Frame(frame)).unwrap();
}

/// A viewer on a socket of its own.
struct Watching {
    viewer: Viewer,
    socket: UdpSocket,
    answer: Answer,
}

async fn watch(peers: &Peers, stream: &Stream) -> Result<Watching, Error> {
    watch_kinds(peers, stream, &[RtpCodecKind::Video]).await
}

async fn watch_kinds(peers: &Peers, stream: &Stream, kinds: &[RtpCodecKind]) -> Result<Watching, Error> {
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let (mut viewer, offer) = Viewer::wanting(kinds, socket.local_addr().unwrap(), Instant::now());
    let answer = peers.play(stream.clone(), &offer, Some(LOOPBACK)).await?;
    viewer.answer(Instant::now(), answer.sdp.clone());
    Ok(Watching { viewer, socket, answer })
}

impl Watching {
    /// Sends and takes what there is.
    async fn poll(&mut self) {
        for (to, datagram) in self.viewer.poll(Instant::now()) {
            self.socket.send_to(&datagram, to).await.unwrap();
        }
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = self.socket.try_recv_from(&mut buffer) {
            self.viewer.input(Instant::now(), from, &buffer[..length]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_viewers_of_a_stored_stream_get_it_bit_for_bit() {
    let server = Server::start(10).await;
    let stream = server.stream("gate").await;
    let (mut writer, mut camera) = (stream.writer(), Camera::new(50));
    (0..70).for_each(|_| write(&mut writer, &mut camera));
    let mut watching = Vec::new();
    for _ in 0..10 {
        watching.push(watch(&server.peers, &stream).await.unwrap());
    }
    let begun = Instant::now();
    let enough = |w: &Watching| w.viewer.pictures().len() > 60;
    while !watching.iter().all(enough) && begun.elapsed() < Duration::from_secs(30) {
        write(&mut writer, &mut camera);
        for watching in &mut watching {
            watching.poll().await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for (number, watching) in watching.iter().enumerate() {
        let pictures = watching.viewer.pictures();
        assert!(pictures.len() > 60, "viewer {number} has {} pictures", pictures.len());
        let first = (0..camera.made).step_by(50).find(|key| camera.expected(*key) == pictures[0].1);
        let first = first.expect("it begins with a key frame of the stream");
        for (index, (_, nals)) in (first..).zip(&pictures) {
            assert_eq!(nals, &camera.expected(index), "picture {index} of viewer {number}");
        }
    }
    assert_eq!(server.peers.count(), 10);
    let eleventh = watch(&server.peers, &stream).await.err();
    assert_eq!(eleventh, Some(Error::TooMany(10)));
    // Foreign bytes on the open port are nobody's business.
    let stranger = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    for length in 0..200usize {
        let rubbish: Vec<u8> = (0..length).map(|i| (i * 31 + length * 7) as u8).collect();
        stranger.send_to(&rubbish, server.peers.local_addr()).await.unwrap();
    }
    let id = &watching[0].answer.id;
    assert!(server.peers.close(id).await && !server.peers.close(id).await);
    assert_eq!(server.peers.count(), 9);
    assert!(!server.peers.close("nobody").await);
    server.stop().await;
}

/// A header with these tracks of sound behind the camera's pictures, or without those.
fn sounding(pictures: bool, codec_ids: &[&str]) -> Arc<media::Header> {
    let video = crate::testing::header(Track::H264).tracks.clone();
    let mut tracks = if pictures { video } else { Vec::new() };
    for codec_id in codec_ids {
        tracks.push(Track {
            number: 1 + tracks.len() as u8,
            kind: TrackKind::Audio,
            codec_id: (*codec_id).to_owned(),
            codec_private: Bytes::new(),
            size: None,
            audio: Some((48_000, 2)),
        });
    }
    media::mkv::write_header(&tracks).shared()
}

/// The n-th packet of sound: CELT, 20 ms.
fn opus(n: u32) -> Bytes {
    [&[31 << 3 | 4][..], &n.to_be_bytes(), &[7; 60]].concat().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opus_is_heard_beside_the_pictures_and_alone() {
    let server = Server::start(10).await;
    let (both, alone) = (server.stream("both").await, server.stream("alone").await);
    let (mut writer, mut camera) = (both.writer(), Camera::new(25));
    camera.header = sounding(true, &["A_AAC", "A_OPUS"]);
    let mut talk = alone.writer();
    let header = sounding(false, &["A_OPUS"]);
    let mut spoken = 0u32;
    let mut shoot = async |writer: &mut Writer, talk: &mut Writer| {
        write(writer, &mut camera);
        let time = camera.start_ms * 1000 + (camera.made as i64 - 1) * 40_000;
        for half in 0..2 {
            let time = UnixMicros(time + half * 20_000);
            let sound = |track, n| Event::Frame(Frame { track, time, key: true, data: opus(n) });
            writer.offer(sound(3, spoken)).unwrap();
            if spoken.is_multiple_of(50) {
                if spoken > 0 {
                    talk.offer(Event::End).unwrap();
                }
                let start = Start { header: header.clone(), producer_start: time.to_millis(), cause: None };
                talk.offer(Event::Begin(start)).unwrap();
            }
            talk.offer(sound(1, spoken)).unwrap();
            spoken += 1;
        }
    };
    shoot(&mut writer, &mut talk).await;
    let (video, audio) = (RtpCodecKind::Video, RtpCodecKind::Audio);
    let mut watching = Vec::new();
    for (stream, kinds) in [
        (&both, &[video, audio][..]),
        (&both, &[audio]),
        (&both, &[video]),
        (&alone, &[audio]),
        (&alone, &[audio, video]),
    ] {
        watching.push(watch_kinds(&server.peers, stream, kinds).await.unwrap());
    }
    let begun = Instant::now();
    let enough = |index: usize, w: &Watching| {
        (index == 2 || w.viewer.sounds.len() > 60) && (matches!(index, 1 | 3 | 4) || w.viewer.pictures().len() > 30)
    };
    while !watching.iter().enumerate().all(|(index, w)| enough(index, w)) && begun.elapsed() < Duration::from_secs(30) {
        shoot(&mut writer, &mut talk).await;
        for watching in &mut watching {
            watching.poll().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (index, watching) in watching.iter().enumerate() {
        let (sounds, pictures) = (&watching.viewer.sounds, watching.viewer.pictures().len());
        assert!(
            enough(index, watching),
            "viewer {index} ({}) has {} packets of sound, {pictures} pictures",
            watching.viewer.connected,
            sounds.len()
        );
        assert!(index != 2 || sounds.is_empty(), "who asks for none gets none");
        assert!(!matches!(index, 1 | 3 | 4) || pictures == 0);
        for pair in sounds.windows(2) {
            assert_eq!((pair[1].0.wrapping_sub(pair[0].0), pair[1].1.wrapping_sub(pair[0].1)), (1, 960));
        }
        let first = sounds.first().map_or(0, |(_, _, payload)| u32::from_be_bytes(payload[1..5].try_into().unwrap()));
        for (n, (_, _, payload)) in (first..).zip(sounds) {
            assert_eq!(payload, &opus(n), "bit for bit");
        }
    }
    let silent = server.stream("silent").await;
    let (mut writer, mut camera) = (silent.writer(), Camera::new(25));
    write(&mut writer, &mut camera);
    let refused = watch_kinds(&server.peers, &silent, &[audio]).await.err().unwrap();
    assert!(matches!(&refused, Error::NotPlayable(why) if why.contains("sound alone")), "{refused}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_played_is_refused_with_its_reason() {
    let server = Server::start(10).await;
    let silent = server.stream("silent").await;
    let refused = server.peers.play(silent.clone(), "no offer", None).await.unwrap_err();
    assert!(matches!(refused, Error::BadOffer(_)), "{refused}");

    let begun = Instant::now();
    let refused = watch(&server.peers, &silent).await.err().unwrap();
    assert!(matches!(&refused, Error::NotLive(why) if why.contains("silent")), "{refused}");
    assert!((2_900..6_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());

    let reordered = server.stream("reordered").await;
    let (mut writer, mut camera) = (reordered.writer(), Camera::new(50));
    write(&mut writer, &mut camera);
    let b = Frame { key: false, data: frame_data(&[nal(0x01, true, 500, 1)]), ..camera.frame() };
    writer.offer(Event::Frame(b)).unwrap();
    let refused = match watch(&server.peers, &reordered).await {
        Err(error) => error,
        // The first picture was there before the first B-frame was looked at: the next offer is refused.
        Ok(_) => watch(&server.peers, &reordered).await.err().unwrap(),
    };
    assert!(matches!(&refused, Error::NotPlayable(why) if why.contains("B-frames")), "{refused}");

    let other = server.stream("other").await;
    let (mut writer, mut camera) = (other.writer(), Camera::new(50));
    camera.header = crate::testing::header("V_MPEGH/ISO/HEVC");
    write(&mut writer, &mut camera);
    let refused = watch(&server.peers, &other).await.err().unwrap();
    assert!(matches!(&refused, Error::NotPlayable(why) if why.contains("HEVC")), "{refused}");
    assert!(server.peers.local_addr().ip().is_loopback());
    let begun = Instant::now();
    while server.peers.count() > 0 && begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.peers.count(), 0, "no seat is left taken");
    server.stop().await;
}
