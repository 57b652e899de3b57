//! Channels in virtual time.
#![allow(clippy::unwrap_used)]

use super::*;
use media::UnixMillis;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const TTL: Duration = Duration::from_secs(60);

/// A core, the time, and what its users would write.
struct World {
    core: Core,
    now: Instant,
    start: Instant,
    /// Sockets whose peers answer pings.
    living: Vec<SocketId>,
}

fn channel() -> ChannelId {
    ChannelId("door/1".into())
}
fn world() -> World {
    world_with(Config::default())
}
fn world_with(config: Config) -> World {
    let now = Instant::now();
    World { core: Core::new(config), now, start: now, living: Vec::new() }
}

impl World {
    fn try_connect(&mut self, role: Role) -> Result<SocketId, Refused> {
        let since = UnixMillis((self.now - self.start).as_millis() as i64);
        let connected = self.core.handle_connected(self.now, Connect { channel: channel(), role, ttl: TTL, since });
        self.core.assert_sound();
        connected
    }
    fn master(&mut self) -> SocketId {
        self.try_connect(Role::Master).unwrap()
    }
    fn viewer(&mut self, id: &str) -> SocketId {
        self.try_connect(Role::Viewer(id.parse().unwrap())).unwrap()
    }
    fn say(&mut self, from: SocketId, message: Value) {
        self.core.handle_text(self.now, from, &message.to_string());
        self.core.assert_sound();
    }
    fn offer(&mut self, from: SocketId, payload: &str) {
        self.say(from, json!({"action": "SDP_OFFER", "messagePayload": payload}));
    }
    fn candidate(&mut self, from: SocketId, payload: &str) {
        self.say(from, json!({"action": "ICE_CANDIDATE", "messagePayload": payload}));
    }
    fn answer(&mut self, from: SocketId, to: &str, payload: &str) {
        self.say(from, json!({"action": "SDP_ANSWER", "recipientClientId": to, "messagePayload": payload}));
    }
    /// All that waits for a socket; closes as `{"close": code}`, pings as `"ping"`.
    fn got(&mut self, socket: SocketId) -> Vec<Value> {
        let frames = std::iter::from_fn(|| self.core.poll_socket(self.now, socket));
        let all = frames.map(|frame| match frame {
            Frame::Text(text) => serde_json::from_str(&text).unwrap(),
            Frame::Ping => json!("ping"),
            Frame::Close(why) => json!({"close": why.code()}),
        });
        let all = all.collect();
        self.core.assert_sound();
        all
    }
    /// Payloads alone.
    fn payloads(&mut self, socket: SocketId) -> Vec<String> {
        self.got(socket).iter().map(|m| m["messagePayload"].as_str().unwrap().to_owned()).collect()
    }
    /// The description of the one refusal that waits.
    fn refusal(&mut self, socket: SocketId) -> String {
        let got = self.got(socket);
        assert_eq!(got.len(), 1, "{got:?}");
        assert_eq!(got[0]["messageType"], "STATUS_RESPONSE");
        assert_eq!(
            (&got[0]["statusResponse"]["statusCode"], &got[0]["statusResponse"]["success"]),
            (&json!("400"), &json!(false))
        );
        got[0]["statusResponse"]["description"].as_str().unwrap().to_owned()
    }
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.core.handle_timeout(self.now);
            self.core.assert_sound();
            for socket in &self.living {
                self.core.handle_alive(self.now, *socket);
            }
        }
        self.now = end;
    }
    fn woken(&mut self) -> Vec<SocketId> {
        std::iter::from_fn(|| self.core.poll_woken()).collect()
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn an_offer_an_answer_and_candidates_cross() {
    let mut w = world();
    let (master, viewer, other) = (w.master(), w.viewer("v1"), w.viewer("v2"));
    assert_eq!(w.woken(), []);
    w.offer(viewer, "b2ZmZXI=");
    w.candidate(viewer, "YQ==");
    assert_eq!(w.woken(), [master], "once, however much there is");
    let got = w.got(master);
    assert_eq!(got[0], json!({"messageType": "SDP_OFFER", "senderClientId": "v1", "messagePayload": "b2ZmZXI="}));
    assert_eq!(got[1]["messageType"], "ICE_CANDIDATE");
    w.answer(master, "v1", "YW5zd2Vy");
    assert_eq!(w.woken(), [viewer]);
    assert_eq!(w.got(viewer), [json!({"messageType": "SDP_ANSWER", "messagePayload": "YW5zd2Vy"})], "and no sender");
    assert_eq!((w.got(other), w.got(viewer), w.got(master)), (vec![], vec![], vec![]), "and nothing on success");
}

#[test]
fn refusals_go_to_who_gave_an_id() {
    let mut w = world();
    let (master, viewer, _other) = (w.master(), w.viewer("v1"), w.viewer("v2"));
    let id = "7";
    w.say(master, json!({"action": "SDP_ANSWER", "messagePayload": "x", "correlationId": id}));
    assert!(w.refusal(master).contains("recipientClientId is missing"));
    w.say(
        master,
        json!({"action": "SDP_ANSWER", "messagePayload": "x", "correlationId": id, "recipientClientId": "a b"}),
    );
    assert!(w.refusal(master).contains("recipientClientId must be 1 to 256"));
    w.say(
        viewer,
        json!({"action": "SDP_OFFER", "messagePayload": "x", "correlationId": id, "recipientClientId": "v2"}),
    );
    assert!(w.refusal(viewer).contains("viewers send to the master alone"));
    w.say(viewer, json!({"action": "SDP_OFFER", "messagePayload": "x", "RecipientClientId": "ProducerMaster"}));
    assert_eq!(w.payloads(master), ["x"], "as the viewer of the C SDK names its master");
    w.say(viewer, json!({"action": "JUMP", "messagePayload": "x", "correlationId": id}));
    assert!(w.refusal(viewer).contains("JUMP"));
    w.say(viewer, json!({"action": "JUMP", "messagePayload": "x"}));
    assert_eq!(w.got(viewer), Vec::<Value>::new(), "nobody asked to be told");
    w.core.handle_text(w.now, viewer, "{not json");
    assert!(w.refusal(viewer).contains("no JSON object"));
    w.core.handle_text(w.now, viewer, " ");
    assert_eq!(w.got(viewer), Vec::<Value>::new(), "what keeps connections open through proxies");
    for _ in 0..100 {
        w.core.handle_text(w.now, viewer, "[]");
    }
    assert_eq!(w.got(viewer).len(), 32, "who does not read is not owed more");
}

#[test]
fn messages_wait_for_who_is_away_until_their_time_is_over() {
    let mut w = world();
    let viewer = w.viewer("v1");
    w.living.push(viewer);
    w.offer(viewer, "1");
    w.pass(secs(30));
    w.candidate(viewer, "2");
    w.pass(secs(29));
    let master = w.master();
    assert_eq!(w.woken().last(), Some(&master));
    w.living.push(master);
    assert_eq!(w.payloads(master), ["1", "2"]);
    w.answer(master, "v9", "3");
    w.pass(secs(59));
    let late = w.viewer("v9");
    assert_eq!(w.payloads(late), ["3"]);
    w.answer(master, "v8", "4");
    assert!(w.core.kept_bytes() > 0);
    w.pass(secs(61));
    assert_eq!(w.core.kept_bytes(), 0, "dropped without anybody coming");
    let later = w.viewer("v8");
    assert_eq!(w.got(later), Vec::<Value>::new());
}

#[test]
fn a_newer_offer_replaces_an_older_one_of_the_same_sender_and_its_candidates() {
    let mut w = world();
    let (one, two) = (w.viewer("v1"), w.viewer("v2"));
    w.offer(one, "old");
    w.candidate(one, "old-c");
    w.offer(two, "other");
    w.offer(one, "new");
    w.candidate(one, "new-c");
    let master = w.master();
    assert_eq!(w.payloads(master), ["other", "new", "new-c"]);
    w.offer(one, "again");
    assert_eq!(w.payloads(master), ["again"], "what was taken is not taken back");
}

#[test]
fn the_same_client_again_replaces_its_socket_and_has_its_mail() {
    let mut w = world();
    let (first, viewer) = (w.master(), w.viewer("v1"));
    w.offer(viewer, "1");
    let second = w.master();
    assert_eq!(w.woken(), [first, second]);
    assert_eq!(w.got(first), [json!({"close": 1000})]);
    assert_eq!(w.payloads(second), ["1"], "what the first had not taken");
    w.core.handle_closed(first);
    w.core.handle_closed(first);
    assert_eq!(w.core.presence(&channel()).master_since, Some(UnixMillis(0)), "the end of the old one is not its end");
    let again = w.viewer("v1");
    w.offer(viewer, "from the old socket");
    assert_eq!(w.got(second), Vec::<Value>::new());
    assert_eq!(w.got(viewer), [json!({"close": 1000})]);
    w.answer(second, "v1", "2");
    assert_eq!(w.payloads(again), ["2"]);
    w.core.handle_closed(again);
    w.core.handle_closed(second);
    assert_eq!((w.core.sockets(), w.core.poll_timeout()), (0, None));
}

#[test]
fn channels_do_not_hear_each_other() {
    let mut w = world();
    let viewer = w.viewer("v1");
    let elsewhere = Connect { channel: ChannelId("gate/1".into()), role: Role::Master, ttl: TTL, since: UnixMillis(0) };
    let master = w.core.handle_connected(w.now, elsewhere).unwrap();
    w.offer(viewer, "1");
    w.answer(master, "v1", "2");
    assert_eq!((w.got(master), w.got(viewer)), (vec![], vec![]));
}

#[test]
fn a_silent_peer_is_pinged_and_a_dead_one_is_closed() {
    let mut w = world();
    let (master, viewer) = (w.master(), w.viewer("v1"));
    w.pass(secs(24));
    assert_eq!(w.woken(), []);
    w.core.handle_alive(w.now, viewer);
    w.pass(secs(1));
    assert_eq!(w.woken(), [master], "the viewer was heard a second ago");
    assert_eq!(w.got(master), [json!("ping")]);
    w.pass(secs(19));
    w.core.handle_alive(w.now, master);
    w.pass(secs(5));
    assert_eq!(w.got(viewer), [json!("ping")]);
    w.core.handle_alive(w.now, master);
    w.pass(secs(20));
    assert_eq!(w.got(viewer), [json!({"close": 1008})], "no answer for twenty seconds");
    assert_eq!(w.core.presence(&channel()).viewers, []);
    w.living.push(master);
    w.pass(secs(24 * 3600));
    assert!(w.core.presence(&channel()).master_since.is_some(), "idle for hours, and open");
}

#[test]
fn bounds_of_sockets_and_viewers() {
    let mut w = world_with(Config { max_sockets: 4, max_viewers_per_channel: 2, ..Config::default() });
    let (_a, b) = (w.viewer("a"), w.viewer("b"));
    let viewer = |id: &str| Role::Viewer(id.parse().unwrap());
    assert_eq!(w.try_connect(viewer("c")), Err(Refused::TooManyViewers(2)));
    let again = w.viewer("b");
    w.master();
    assert_eq!(w.core.sockets(), 4, "the one that was replaced counts until it has gone");
    let connect = |channel: &str| Connect {
        channel: ChannelId(channel.into()),
        role: Role::Master,
        ttl: TTL,
        since: UnixMillis(0),
    };
    assert_eq!(w.core.handle_connected(w.now, connect("gate/1")), Err(Refused::TooManySockets(4)));
    w.core.handle_closed(b);
    w.core.handle_connected(w.now, connect("gate/1")).unwrap();
    w.core.handle_closed(again);
    w.viewer("c");
}

#[test]
fn who_sends_too_much_is_told_then_cut_off() {
    let mut w = world_with(Config { messages_per_s: 10, ..Config::default() });
    let (master, viewer) = (w.master(), w.viewer("v1"));
    let candidate = json!({"action": "ICE_CANDIDATE", "messagePayload": "x", "correlationId": "7"});
    for _ in 0..51 {
        w.say(viewer, candidate.clone());
    }
    assert_eq!(w.payloads(master).len(), 50);
    assert!(w.refusal(viewer).contains("more than 10 messages a second"));
    for _ in 0..100 {
        w.say(viewer, candidate.clone());
    }
    assert_eq!(w.got(viewer), [json!({"close": 1008})], "and nothing before it");
    let pinging = w.viewer("v2");
    for _ in 0..151 {
        w.core.handle_alive(w.now, pinging);
    }
    assert_eq!(w.got(pinging), [json!({"close": 1008})]);
}

#[test]
fn what_waits_is_bounded_by_sender_by_channel_and_in_all() {
    let config = Config { kept_messages_per_channel: 8, kept_bytes: 3000, ..Config::default() };
    let mut w = world_with(config);
    let (one, two) = (w.viewer("v1"), w.viewer("v2"));
    let say = |w: &mut World, from, payload: &str| {
        w.say(from, json!({"action": "ICE_CANDIDATE", "messagePayload": payload, "correlationId": "7"}));
    };
    for n in 0..3 {
        say(&mut w, one, &n.to_string());
    }
    assert!(w.refusal(one).contains("of this viewer"), "a quarter of the channel's");
    say(&mut w, two, "4");
    assert_eq!(w.got(two), Vec::<Value>::new(), "others have room");
    say(&mut w, two, &"5".repeat(3000));
    assert!(w.refusal(two).contains("signaling.kept_bytes)"));
    let master = w.master();
    for n in 0..6 {
        w.say(master, json!({"action": "SDP_ANSWER", "messagePayload": "x", "recipientClientId": format!("gone{n}"), "correlationId": "7"}));
    }
    let got = w.got(master);
    assert_eq!(got.len(), 4, "three that waited, and one refusal: {got:?}");
    assert!(got[0]["statusResponse"]["description"].as_str().unwrap().contains("kept_messages_per_channel"));
    w.answer(master, "gone9", "there is room now");
    assert_eq!(w.got(master), Vec::<Value>::new());
}

#[test]
fn an_offer_without_a_socket_is_answered_by_the_master() {
    let mut w = world();
    let alexa: ClientId = "alexa".parse().unwrap();
    let ask = |w: &mut World, id: &ClientId| {
        let asked = w.core.handle_offer(w.now, &channel(), id.clone(), "b2ZmZXI=".into(), secs(10));
        w.core.assert_sound();
        asked
    };
    assert_eq!(ask(&mut w, &alexa), Err(Refused::NoMaster));
    let master = w.master();
    w.viewer("v1");
    assert_eq!(ask(&mut w, &"v1".parse().unwrap()), Err(Refused::SenderConnected));
    let first = ask(&mut w, &alexa).unwrap();
    let second = ask(&mut w, &alexa).unwrap();
    assert_eq!(w.core.poll_answered(), Some((first, Err(NoAnswer::Superseded))));
    let got = w.got(master);
    assert_eq!(got, [json!({"messageType": "SDP_OFFER", "senderClientId": "alexa", "messagePayload": "b2ZmZXI="})]);
    w.say(master, json!({"action": "ICE_CANDIDATE", "recipientClientId": "alexa", "messagePayload": "x"}));
    assert_eq!((w.core.poll_answered(), w.core.kept_bytes()), (None, 0), "candidates stand in the answer");
    w.answer(master, "alexa", "YW5zd2Vy");
    assert_eq!(w.core.poll_answered(), Some((second, Ok("YW5zd2Vy".into()))));
    let third = ask(&mut w, &alexa).unwrap();
    w.pass(secs(10));
    assert_eq!(w.core.poll_answered(), Some((third, Err(NoAnswer::Late))));
    assert_eq!(w.got(master), Vec::<Value>::new(), "nobody waits for the answer to it any more");
    for n in 0..32 {
        ask(&mut w, &format!("a{n}").parse().unwrap()).unwrap();
    }
    assert!(matches!(ask(&mut w, &alexa), Err(Refused::TooMuch(_))));
    let Err(Refused::TooMuch(text)) = ask(&mut w, &alexa) else { panic!("there is no room") };
    assert!(text.contains("32 offers"));
}

#[test]
fn where_the_server_is_the_master_it_stays_and_says_why_it_does_not_answer() {
    let mut w = world();
    let (real, viewer) = (w.master(), w.viewer("v1"));
    w.offer(viewer, "before");
    let own = w.core.handle_seated(w.now, channel(), TTL, UnixMillis(7)).unwrap();
    w.core.assert_sound();
    assert_eq!(w.got(real), [json!({"close": 1000})]);
    assert_eq!(w.try_connect(Role::Master), Err(Refused::Seated));
    assert_eq!(w.core.presence(&channel()).master_since, Some(UnixMillis(7)));
    assert_eq!(w.payloads(own), ["before"], "what waited for a master is the server's");
    w.say(viewer, json!({"action": "SDP_OFFER", "messagePayload": "b2ZmZXI=", "correlationId": "7"}));
    assert_eq!(w.got(own)[0]["correlationId"], "7");
    let v1: ClientId = "v1".parse().unwrap();
    assert_eq!(w.core.asks_by(&channel(), &v1), Some(Ok(viewer)));
    let refusal = |text: &str| Refusal { error_type: "ServiceUnavailableException", description: text.to_owned() };
    assert!(!w.core.handle_reply(w.now, own, &v1, Some("7"), Err(refusal("dark"))));
    let told = w.got(viewer);
    let status = &told[0]["statusResponse"];
    assert_eq!((&status["correlationId"], &status["statusCode"]), (&json!("7"), &json!("503")), "{status}");
    assert_eq!(status["description"], "dark");
    assert!(w.core.handle_reply(w.now, own, &v1, None, Ok("YQ==".into())));
    assert_eq!(w.got(viewer), [json!({"messageType": "SDP_ANSWER", "messagePayload": "YQ=="})]);

    let alexa: ClientId = "alexa".parse().unwrap();
    for reply in [Ok("YQ==".to_owned()), Err(refusal("dark"))] {
        let asked = w.core.handle_offer(w.now, &channel(), alexa.clone(), "x".into(), secs(10)).unwrap();
        assert_eq!((w.payloads(own), w.core.asks_by(&channel(), &alexa)), (vec!["x".to_owned()], Some(Err(asked))));
        w.core.handle_reply(w.now, own, &alexa, None, reply.clone());
        let wanted = reply.map_err(|refusal| NoAnswer::Refused(refusal.description));
        assert_eq!(w.core.poll_answered(), Some((asked, wanted)));
    }
    // Nobody asks it whether it is there, and it needs no pace.
    w.pass(secs(3600));
    assert_eq!(w.got(own), Vec::<Value>::new());
    assert!(
        !w.core.handle_reply(w.now, viewer, &v1, None, Ok("x".into())),
        "a viewer's socket is no seat of the server"
    );
    w.core.handle_closed(own);
    w.core.assert_sound();
    assert_eq!(w.core.asks_by(&channel(), &v1), None, "it answered no ping meanwhile");
    w.master();
}

#[test]
fn a_deleted_channel_closes_everyone_and_keeps_nothing() {
    let mut w = world();
    let (master, viewer) = (w.master(), w.viewer("v1"));
    let offer = w.core.handle_offer(w.now, &channel(), "alexa".parse().unwrap(), "x".into(), secs(10)).unwrap();
    w.offer(viewer, "1");
    w.core.handle_deleted(&channel());
    assert_eq!(w.core.poll_answered(), Some((offer, Err(NoAnswer::Gone))));
    assert_eq!((w.got(master), w.got(viewer)), (vec![json!({"close": 1000})], vec![json!({"close": 1000})]));
    assert_eq!((w.core.kept_bytes(), w.core.sockets(), w.core.poll_timeout()), (0, 0, None));
}

#[test]
fn a_stop_tells_everyone_to_go_and_lets_nobody_in() {
    let mut w = world();
    let (master, viewer) = (w.master(), w.viewer("v1"));
    let offer = w.core.handle_offer(w.now, &channel(), "alexa".parse().unwrap(), "x".into(), secs(10)).unwrap();
    w.core.handle_stop();
    assert_eq!(w.core.poll_answered(), Some((offer, Err(NoAnswer::Gone))));
    for socket in [master, viewer] {
        assert_eq!(w.got(socket), [json!({"messageType": "GO_AWAY"}), json!({"close": 1001})]);
    }
    assert_eq!(w.try_connect(Role::Master), Err(Refused::Stopping));
}

#[test]
fn presence_says_who_is_there_since_when_and_that_it_changed() {
    let mut w = world();
    let changed = |w: &mut World| std::iter::from_fn(|| w.core.poll_changed()).count();
    assert_eq!((w.core.presence(&channel()), changed(&mut w)), (Presence::default(), 0));
    w.pass(secs(1));
    let viewer = w.viewer("v2");
    w.pass(secs(1));
    let master = w.master();
    w.viewer("v1");
    assert_eq!(changed(&mut w), 1, "once a channel");
    let (v1, v2) = ("v1".parse().unwrap(), "v2".parse().unwrap());
    let viewers = vec![(v1, UnixMillis(2000)), (v2, UnixMillis(1000))];
    assert_eq!(w.core.presence(&channel()), Presence { master_since: Some(UnixMillis(2000)), viewers });
    w.offer(viewer, "1");
    assert_eq!(changed(&mut w), 0);
    w.core.close(master, Close::NotAllowed);
    assert_eq!((changed(&mut w), w.core.presence(&channel()).master_since), (1, None));
    assert_eq!(w.got(master), [json!({"close": 1008})]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_bounds_hold(data: Vec<u8>) {
        fuzz::fuzz(&data);
    }

    #[test]
    fn whatever_clients_do_bounds_hold(steps in proptest::collection::vec((0u8..=255, "[a-z]{0,3}|(\\{\"action\":\"(SDP_OFFER|SDP_ANSWER|ICE_CANDIDATE)\",\"messagePayload\":\"[a-z]{0,400}\",\"recipientClientId\":\"v[0-9]\",\"correlationId\":\"[a-z]?\"\\})"), 0..60)) {
        let script: Vec<u8> = steps.iter().flat_map(|(step, text)| {
            let is_text = matches!(step & 7, 1 | 2);
            std::iter::once(*step).chain(is_text.then(|| format!("{text}\n").into_bytes()).into_iter().flatten())
        }).collect();
        fuzz::fuzz(&script);
    }
}
