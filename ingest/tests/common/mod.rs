//! What the tests of sources share: a store with cameras in a temporary folder, and the camera farm of `../shared`.
#![allow(clippy::unwrap_used, clippy::print_stdout, dead_code, unreachable_pub)]

use ingest::{CameraState, Cameras, Config, Failure};
use media::{Cause, Fragment, FragmentMeta, TrackKind, UnixMillis};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::records::{Camera, Secret, Transport};
use store::{Position, Range, Store};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A file of the shared material, or `None` with a line that says so.
pub fn shared(name: &str) -> Option<PathBuf> {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into();
    let root: PathBuf = std::env::var_os("VIDICON_SHARED").map_or_else(beside, PathBuf::from);
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: ../shared is not here ({name})");
    None
}

/// A Python with PyAV, or `None` with a line that says so.
pub fn python() -> Option<String> {
    let python = std::env::var("VIDICON_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let works =
        Command::new(&python).args(["-c", "import av"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if works {
        return Some(python);
    }
    println!("skipped: {python} cannot `import av` (set VIDICON_TEST_PYTHON to one that can)");
    None
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Cameras that play a clip; ended with the value.
pub struct Farm {
    child: Child,
    pub port: u16,
}

impl Farm {
    /// Starts the farm; `None`, said in a line, where its parts are not here.
    pub fn start(clip: &str, args: &[&str]) -> Option<Farm> {
        Self::start_at(free_port(), clip, args)
    }

    pub fn start_at(port: u16, clip: &str, args: &[&str]) -> Option<Farm> {
        let (script, clip) = (shared("tools/camfarm.py")?, shared(&format!("media/{clip}"))?);
        let mut command = Command::new(python()?);
        command.arg(script).arg(clip).args(["--port", &port.to_string()]).args(args);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("cameras at"));
        assert!(ready, "the farm did not start");
        // Its later lines are read, so that it never waits for us.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Some(Farm { child, port })
    }

    pub fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/cam0", self.port)
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A store with a camera supervisor.
pub struct Rig {
    pub store: Store,
    pub cameras: Cameras,
    stop: CancellationToken,
    tasks: TaskTracker,
    folder: tempfile::TempDir,
}

pub fn camera(url: &str) -> Camera {
    Camera {
        stream: "gate".parse().unwrap(),
        url: url.to_owned(),
        username: None,
        password: None,
        transport: Transport::Tcp,
        enabled: true,
        from_config: false,
    }
}

pub fn with_login(mut camera: Camera, username: &str, password: &str) -> Camera {
    camera.username = Some(username.to_owned());
    camera.password = Some(Secret(password.to_owned()));
    camera
}

/// Short times, so that failures show within a test.
pub fn quick() -> Config {
    Config { connect_timeout_s: 5, silence_timeout_s: 2, max_backoff_s: 1 }
}

impl Rig {
    pub async fn new(config: Config) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let clock: store::Clock = Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            UnixMillis(since.as_millis() as i64)
        });
        let store =
            Store::open(store::Config { data: folder.path().join("data"), ..Default::default() }, clock).await.unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let cameras = Cameras::start(config, store.clone(), stop.clone(), &tasks, &Handle::current());
        Rig { store, cameras, stop, tasks, folder }
    }

    /// With one camera in it.
    pub async fn with(config: Config, camera: Camera) -> Rig {
        let rig = Self::new(config).await;
        rig.store.put_camera(camera).await.unwrap();
        rig
    }

    pub fn state(&self) -> Option<CameraState> {
        self.cameras.state(&"gate".parse().unwrap())
    }

    /// Waits until the state is as wished.
    pub async fn wait(&self, what: &str, wished: impl Fn(&CameraState) -> bool) -> CameraState {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            match self.state() {
                Some(state) if wished(&state) => return state,
                state => assert!(Instant::now() < deadline, "waited for {what}, but it is {state:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn wait_live(&self) -> CameraState {
        self.wait("live", |s| matches!(s, CameraState::Live { .. })).await
    }

    pub async fn wait_failed(&self) -> Failure {
        match self.wait("failed", |s| matches!(s, CameraState::Failed { .. })).await {
            CameraState::Failed { reason, .. } => reason,
            _ => unreachable!(),
        }
    }

    pub async fn fragments(&self) -> Vec<FragmentMeta> {
        let Ok(stream) = self.store.stream(&"gate".parse().unwrap()) else { return Vec::new() };
        let all = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX / 4) };
        stream.fragments(all, Position::Start, 1000).await.unwrap()
    }

    /// Waits until the recorded fragments are as wished.
    pub async fn wait_fragments(&self, what: &str, wished: impl Fn(&[FragmentMeta]) -> bool) -> Vec<FragmentMeta> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let fragments = self.fragments().await;
            if wished(&fragments) {
                return fragments;
            }
            assert!(
                Instant::now() < deadline,
                "waited for {what}, state {:?}, {} fragments, causes {:?}",
                self.state(),
                fragments.len(),
                causes(&fragments)
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn load(&self, meta: &FragmentMeta) -> Arc<Fragment> {
        self.store.stream(&"gate".parse().unwrap()).unwrap().fragment(meta.number).await.unwrap()
    }

    /// Stops the cameras in order, as the server does, and returns the fragments that are durable then.
    pub async fn stop(&self) -> Vec<FragmentMeta> {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(Duration::from_secs(5), self.tasks.wait())
            .await
            .expect("camera tasks end within five seconds");
        tokio::time::sleep(Duration::from_millis(600)).await; // one commit interval and its sync
        self.fragments().await
    }

    /// Every fragment begins with a key frame, its times are in order, and what follows without a cause continues it.
    pub async fn check(&self, fragments: &[FragmentMeta]) {
        assert!(!fragments.is_empty());
        let mut end: Option<UnixMillis> = None;
        for meta in fragments {
            let fragment = self.load(meta).await;
            let frames = fragment.frames().unwrap();
            let video = fragment.header.video().unwrap().number;
            assert!(frames[0].key && frames[0].track == video, "begins with a key frame");
            assert_eq!(frames.len(), meta.frames as usize);
            for track in &fragment.header.tracks {
                let mut times: Vec<_> = frames.iter().filter(|f| f.track == track.number).map(|f| f.time).collect();
                if track.kind == TrackKind::Video {
                    times.sort_unstable();
                }
                assert!(times.windows(2).all(|w| w[0] < w[1]), "track {} goes on in time", track.number);
            }
            if let (Some(end), None) = (end, meta.cause) {
                let apart = meta.producer_start.0 - end.0;
                assert!(apart.abs() <= 150, "continues: {apart} ms");
            }
            end = Some(meta.producer_end());
        }
    }

    /// Decodes a fragment on its own with FFmpeg's decoder; every picture must come out.
    pub async fn decodes(&self, meta: &FragmentMeta) {
        let fragment = self.load(meta).await;
        let video = fragment.header.video().unwrap().number;
        let sent = fragment.frames().unwrap().iter().filter(|f| f.track == video).count();
        let path = self.folder.path().join("fragment.mkv");
        std::fs::write(&path, fragment.to_mkv().to_bytes()).unwrap();
        const DECODE: &str = "import av,sys\nav.logging.set_level(av.logging.ERROR)\nc=av.open(sys.argv[1]);print(sum(1 for f in c.decode(video=0) if not f.is_corrupt))";
        let output = Command::new(python().unwrap()).args(["-c", DECODE]).arg(&path).output().unwrap();
        let decoded = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert_eq!(decoded, sent.to_string(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

pub fn causes(fragments: &[FragmentMeta]) -> Vec<Cause> {
    fragments.iter().filter_map(|f| f.cause).collect()
}

/// Resident memory of this process in bytes.
pub fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
