//! Viewers that this crate did not write, over a link in memory and in virtual time: minutes in milliseconds.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::candidates::Candidate;
use crate::dtls::Identity;
use crate::fanout::{Packetizer, Tracks};
use crate::peer::Seats;
use crate::sdp::Offer;
use crate::testing::{Camera, Viewer};
use std::net::SocketAddr;

/// The camera's stream.
const PICTURES: Tracks = Tracks { video: Some([0x42, 0xc0]), sound: None };
const SERVER: &str = "192.0.2.1:8080";

/// A server and its viewers on a network of their own.
struct World {
    state: State,
    identity: Identity,
    seats: std::sync::Arc<Seats>,
    camera: Camera,
    packetizer: Packetizer,
    viewers: Vec<Viewer>,
    keys: u64,
    now: Instant,
    /// Whether to lose a datagram to a viewer, by its first byte.
    lose: Box<dyn FnMut(u8) -> bool>,
    /// Frames cut into packets.
    packetised: u64,
    /// DTLS alerts sent: close_notify is one.
    alerts: u64,
}

impl World {
    fn new() -> World {
        let now = Instant::now();
        let mut state = State { batch: Batch { most_segments: 64, ..Batch::default() }, ..State::default() };
        state.feeds.insert(0, Feed::new("gate", CancellationToken::new(), now));
        state.by_stream.insert(77, 0);
        World {
            state,
            identity: Identity::generate().unwrap(),
            seats: Seats::new(100),
            camera: Camera::new(50),
            packetizer: Packetizer::default(),
            viewers: Vec::new(),
            keys: 0,
            now,
            lose: Box::new(|_| false),
            packetised: 0,
            alerts: 0,
        }
    }

    /// A viewer offers and gets its answer.
    fn join(&mut self) -> usize {
        let addr = SocketAddr::from(([192, 0, 2, 100], 5000 + self.viewers.len() as u16));
        let (mut viewer, offer) = Viewer::new(addr, self.now);
        let offer = Offer::parse(&offer).unwrap();
        self.keys += 1;
        let random = std::array::from_fn(|i| (i as u64 * 37 + self.keys * 101) as u8);
        let candidates = [Candidate { addr: SERVER.parse().unwrap(), priority: 2130706431 }];
        let seat = self.seats.take().unwrap();
        let (peer, answer) =
            crate::peers::answer(&self.identity, &offer, PICTURES, &candidates, random, seat, self.now).unwrap();
        self.state.add(self.keys, Box::new(peer), 0);
        viewer.answer(self.now, answer.sdp);
        self.viewers.push(viewer);
        self.viewers.len() - 1
    }

    /// The camera makes a frame.
    fn shoot(&mut self) {
        let live = self.camera.live();
        let mut picture = self.packetizer.frame(&live).unwrap().unwrap();
        picture.held = Some(self.state.room.try_take(picture.footprint()).expect("there is always room for another"));
        self.packetised += 1;
        self.state.feed_event(0, FeedEvent::Picture(std::sync::Arc::new(picture)), self.now);
    }

    /// A millisecond passes.
    fn step(&mut self) {
        self.now += Duration::from_millis(1);
        for index in 0..self.viewers.len() {
            let from = self.viewers[index].addr;
            for (_, datagram) in self.viewers[index].poll(self.now) {
                self.state.datagram((self.now, UnixMicros(0)), Path { remote: from, local: None }, &datagram);
            }
        }
        self.state.tick(self.now);
        self.state.pace(self.now);
        while let Some(run) = self.state.batch.pop() {
            for datagram in run.bytes.chunks(run.segment) {
                self.alerts += u64::from(datagram[0] == 21);
                let lost = (self.lose)(datagram[0]);
                if let Some(viewer) = self.viewers.iter_mut().find(|v| v.addr == run.path.remote).filter(|_| !lost) {
                    viewer.input(self.now, SERVER.parse().unwrap(), datagram);
                }
            }
        }
    }

    /// So many milliseconds pass, a frame every 40.
    fn run(&mut self, ms: u64) {
        for at in 0..ms {
            if at % 40 == 0 {
                self.shoot();
            }
            self.step();
        }
    }

    /// Checks that a viewer has pictures `from..` in order and bit for bit, at least `least` of them.
    fn expect(&self, viewer: usize, from: u64, least: usize) {
        let pictures = self.viewers[viewer].pictures();
        assert!(pictures.len() >= least, "viewer {viewer} has {} pictures, not {least}", pictures.len());
        for (index, (_, nals)) in (from..).zip(&pictures) {
            assert_eq!(nals, &self.camera.expected(index), "picture {index} of viewer {viewer}");
        }
    }
}

#[test]
fn a_viewer_gets_the_cached_key_frame_at_once_and_is_live() {
    let mut world = World::new();
    world.run(60 * 40); // 60 frames: the second fragment has begun with frame 50.
    let before = world.now;
    let viewer = world.join();
    let first = loop {
        world.step();
        if !world.viewers[viewer].pictures().is_empty() {
            break world.now - before;
        }
        assert!(world.now - before < Duration::from_secs(2), "no picture");
    };
    // `rtc` as a viewer takes 400 ms to choose a path; the rest is ours.
    assert!(first < Duration::from_millis(420), "the first picture took {first:?} of virtual time");
    for _ in 0..20 {
        world.step();
    }
    world.expect(viewer, 50, 10);
    let caught_up: Vec<u32> = world.viewers[viewer].pictures().iter().map(|p| p.0).collect();
    assert!(caught_up.windows(2).all(|w| w[1].wrapping_sub(w[0]) == 90), "caught up in steps of a millisecond");

    world.run(1000);
    world.expect(viewer, 50, 33);
    let all: Vec<u32> = world.viewers[viewer].pictures().iter().map(|p| p.0).collect();
    assert!(all[10..].windows(2).all(|w| w[1].wrapping_sub(w[0]) == 3600), "25 pictures a second, then");
}

#[test]
fn ten_viewers_share_one_packetisation_and_differ_in_their_numbers() {
    let mut world = World::new();
    world.shoot();
    (0..10).for_each(|_| {
        world.join();
    });
    world.run(4_000);
    assert_eq!(world.packetised, 101, "each frame was cut once");
    for viewer in 0..10 {
        world.expect(viewer, 0, 88);
    }
    let first = |v: &Viewer| *v.packets.first_key_value().unwrap().0;
    let different: HashSet<u64> = world.viewers.iter().map(first).collect();
    assert!(different.len() > 5, "sequence numbers start anywhere");
}

#[test]
fn lost_packets_are_sent_again_when_asked_for() {
    let mut world = World::new();
    world.shoot();
    let viewer = world.join();
    world.run(800);
    assert!(world.viewers[viewer].connected);
    // One in nine is lost, the repeated ones too.
    let mut sent = 0u64;
    world.lose = Box::new(move |_| {
        sent += 1;
        sent % 9 == 4
    });
    world.run(4_000);
    world.lose = Box::new(|_| false);
    world.run(2_000);
    world.expect(viewer, 0, 150);
}

#[test]
fn a_viewer_that_missed_its_first_packets_and_says_so_starts_again() {
    let mut world = World::new();
    world.shoot();
    let viewer = world.join();
    // The first packets of a stream cannot be missed by their numbers, so nobody asks for them again.
    let mut media = 0;
    world.lose = Box::new(move |first_byte| {
        media += u64::from(first_byte == 0x80);
        first_byte == 0x80 && media < 12
    });
    world.run(1_500);
    assert!(world.viewers[viewer].connected);
    let begins_with_key = |v: &Viewer| v.pictures().iter().any(|(_, nals)| nals.len() == 4);
    assert!(!begins_with_key(&world.viewers[viewer]), "the key frame is lost");
    for _ in 0..3 {
        world.viewers[viewer].ask_for_key(world.now);
        world.run(200);
    }
    let pictures = world.viewers[viewer].pictures();
    let keys: Vec<usize> = (0..pictures.len()).filter(|i| pictures[*i].1 == world.camera.expected(0)).collect();
    assert_eq!(keys.len(), 1, "once, however often it asks");
    let again: Vec<_> = pictures[keys[0]..].iter().map(|(_, nals)| nals.clone()).collect();
    assert!(again.len() > 40);
    for (index, nals) in again.iter().enumerate() {
        assert_eq!(nals, &world.camera.expected(index as u64));
    }
    assert!(pictures.windows(2).all(|w| (w[1].0.wrapping_sub(w[0].0) as i32) > 0), "timestamps only grow");
}

#[test]
fn a_viewer_that_goes_away_is_gone_and_one_that_never_comes_too() {
    let mut world = World::new();
    world.shoot();
    let (polite, silent) = (world.join(), world.join());
    world.run(500);
    assert_eq!((world.state.peers.len(), world.seats.taken()), (2, 2));
    world.viewers[polite].close();
    world.run(100);
    assert_eq!(world.seats.taken(), 1, "a close_notify ends it at once");
    // The other loses its network; and one offers and never connects.
    world.viewers[silent].addr = SocketAddr::from(([192, 0, 2, 200], 9));
    let (_, offer) = Viewer::new(SocketAddr::from(([192, 0, 2, 201], 9)), world.now);
    let offer = Offer::parse(&offer).unwrap();
    let seat = world.seats.take().unwrap();
    let (peer, _) = crate::peers::answer(&world.identity, &offer, PICTURES, &[], [9; 64], seat, world.now).unwrap();
    world.state.add(99, Box::new(peer), 0);
    world.viewers.clear();
    world.run(14_000);
    assert_eq!(world.seats.taken(), 2);
    world.run(2_000);
    assert_eq!(world.seats.taken(), 1, "who does not connect within 15 s is dropped");
    world.run(6_000);
    assert_eq!(world.seats.taken(), 0, "and who stops checking after 20 s");
    assert_eq!((world.state.demux.len(), world.state.ids.len(), world.state.paced.len()), (0, 0, 0));
    // Then nobody is left to follow the stream for.
    world.run(17_000);
    assert!(world.state.feeds.is_empty() && world.state.by_stream.is_empty());
}

#[test]
fn the_end_of_a_stream_ends_its_viewers() {
    let mut world = World::new();
    world.shoot();
    world.join();
    world.run(500);
    let condition = world.state.feeds[&0].condition.subscribe();
    world.state.feed_event(0, FeedEvent::Unplayable("why".to_owned()), world.now);
    assert_eq!(*condition.borrow(), Condition::Unplayable("why".to_owned()));
    (0..50).for_each(|_| world.step());
    assert_eq!(world.seats.taken(), 0);
    assert_eq!(world.alerts, 1, "the viewer is told");
}

#[test]
fn malformed_datagrams_change_nothing() {
    let mut world = World::new();
    world.shoot();
    let viewer = world.join();
    world.run(500);
    let path = Path { remote: world.viewers[viewer].addr, local: None };
    let mut seed = 1u64;
    for round in 0..20_000u32 {
        let length = (round % 90) as usize;
        let mut rubbish: Vec<u8> = (0..length)
            .map(|_| {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (seed >> 56) as u8
            })
            .collect();
        // The kinds that are looked at: checks, DTLS records, RTP, RTCP.
        if length > 24 {
            match round % 4 {
                0 => rubbish[..8].copy_from_slice(&[0, 1, 0, (length - 20) as u8, 0x21, 0x12, 0xa4, 0x42]),
                1 => rubbish[..3].copy_from_slice(&[20 + (round % 7) as u8, 0xfe, 0xfd]),
                2 => rubbish[..2].copy_from_slice(&[0x80, 96]),
                _ => rubbish[..2].copy_from_slice(&[0x81, 205]),
            }
        }
        world.state.datagram((world.now, UnixMicros(0)), path, &rubbish);
    }
    world.run(1_000);
    assert_eq!(world.seats.taken(), 1);
    world.expect(viewer, 0, 25);
}

#[test]
fn a_viewer_may_change_its_path() {
    let mut world = World::new();
    world.shoot();
    let viewer = world.join();
    world.run(500);
    let got = world.viewers[viewer].pictures().len();
    // The NAT gives it another port: its next check comes from there, and pictures follow it.
    let old = world.viewers[viewer].addr;
    for at in 0..6_000 {
        if at % 40 == 0 {
            world.shoot();
        }
        world.now += Duration::from_millis(1);
        let moved = Path { remote: SocketAddr::from(([198, 51, 100, 7], 6000)), local: None };
        for (_, datagram) in world.viewers[viewer].poll(world.now) {
            world.state.datagram((world.now, UnixMicros(0)), moved, &datagram);
        }
        world.state.pace(world.now);
        while let Some(run) = world.state.batch.pop() {
            if run.path == moved || run.path.remote == old {
                for datagram in run.bytes.chunks(run.segment) {
                    world.viewers[viewer].input(world.now, SERVER.parse().unwrap(), datagram);
                }
            }
        }
    }
    assert!(world.viewers[viewer].pictures().len() > got + 100);
    let learned: Vec<SocketAddr> = world.state.peers.values().flat_map(|(p, _)| p.addrs().to_vec()).collect();
    assert!(learned.contains(&SocketAddr::from(([198, 51, 100, 7], 6000))));
}

#[test]
fn a_panic_in_any_call_ends_that_viewer_only() {
    for call in [Call::Input, Call::Start, Call::Picture, Call::Output, Call::Timeout, Call::Close] {
        let mut world = World::new();
        world.shoot();
        let (other, poisoned) = (world.join(), world.join());
        let key = world.keys;
        // The cached pictures are started with once, when the handshake is done.
        world.run(if call == Call::Start { 1 } else { 800 });
        world.state.peers.get_mut(&key).unwrap().0.poisoned = Some(call);
        if call == Call::Close {
            world.state.end(key, &End::Asked, world.now);
        }
        // Closed by its panic, not by falling silent: less time than CONSENT_FOR passes.
        world.run(6_000);
        assert!(!world.state.peers.contains_key(&key), "{call:?}: the poisoned viewer is gone");
        assert_eq!(world.seats.taken(), 1, "{call:?}");
        assert!(!world.state.paced.contains(&key) && !world.state.feeds[&0].viewers.contains(&key), "{call:?}");
        assert!(world.viewers[poisoned].pictures().len() < 40, "{call:?}");
        world.expect(other, 0, 140);
    }
}

#[test]
fn a_panic_while_pacing_ends_that_viewer_only() {
    let mut world = World::new();
    world.shoot();
    world.join();
    world.run(800);
    let key = world.keys;
    world.state.peers.get_mut(&key).unwrap().0.poisoned = Some(Call::Output);
    world.state.paced.insert(key);
    world.state.pace(world.now);
    assert_eq!((world.state.peers.len(), world.state.paced.len(), world.seats.taken()), (0, 0, 0));
}

#[test]
fn viewers_that_are_behind_share_one_bound_and_go_on_at_a_key_frame() {
    let mut world = World::new();
    let most = 1 << 20;
    world.state.room = Room::new(most);
    for _ in 0..3 {
        world.join();
    }
    world.run(2000);
    assert!(world.viewers.iter().all(|viewer| viewer.pictures().len() > 20));
    let before = world.viewers[0].pictures().len();
    // No time passes for pacing: all of it waits, and is three times what there is room for.
    for _ in 0..900 {
        world.shoot();
    }
    let taken = world.state.room.used();
    assert!(taken <= most && taken > most / 8, "{taken} bytes of {most}");
    let waits = |world: &World| world.state.peers.values().map(|(peer, _)| peer.queued_bytes()).max().unwrap();
    assert!(waits(&world) < most as usize);
    world.run(4000);
    for viewer in &world.viewers {
        let pictures = viewer.pictures();
        let missed = world.camera.made as usize - pictures.len();
        assert!(missed > 300 && pictures.len() > before + 100, "{missed} missed, {} seen", pictures.len());
        // After the gap a key frame: its first units are the parameter sets.
        let gap = (1..pictures.len()).find(|i| pictures[*i].0.wrapping_sub(pictures[i - 1].0) > 20 * 3600).unwrap();
        assert_eq!(pictures[gap].1[0][..], crate::testing::SPS);
        let last = world.camera.made - 1;
        assert_eq!(pictures.last().unwrap().1, world.camera.expected(last), "it is live again");
    }
    assert!(!world.state.room.is_tight());

    // What nobody watches gives up what it keeps for the next viewer, before others are late.
    world.state.peers.clear();
    world.state.feeds.get_mut(&0).unwrap().viewers.clear();
    world.shoot();
    let kept = world.state.room.used();
    assert!(kept > 0 && kept < most / 2);
    let _other = world.state.room.try_take(most - kept).unwrap();
    world.state.tick(world.now);
    assert_eq!((world.state.feeds[&0].cache.bytes(), world.state.room.used()), (0, most - kept));
}
