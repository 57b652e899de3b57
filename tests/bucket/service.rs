//! The two S3 services that the tests record to: `tests/s3.py`, which honours conditions on PUT and shares no code with the client, and
//! Garage, a real server, which ignores them.

use super::common::{Server, eventually, serve};
use super::garage::{self, Garage, KEY, REGION, SECRET};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The key after a rotation.
pub const KEY_2: &str = "GK89abcdef0123456789abcdef";
pub const SECRET_2: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

/// A bucket `media` in a process of its own, killed when dropped.
pub enum Bucket {
    Script { port: u16, folder: tempfile::TempDir, child: Child },
    Garage(Garage),
}

impl Bucket {
    pub fn script() -> Bucket {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("buckets/media")).unwrap();
        std::fs::write(folder.path().join("keys"), format!("{KEY} {SECRET}\n")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = run(port, folder.path());
        let bucket = Bucket::Script { port, folder, child };
        bucket.credentials(KEY, SECRET);
        bucket
    }

    /// `None` where it is not installed.
    pub fn garage() -> Option<Bucket> {
        Garage::start().map(Bucket::Garage)
    }

    pub fn kill(&mut self) {
        match self {
            Bucket::Script { child, .. } => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            Bucket::Garage(garage) => garage.kill(),
        }
    }

    pub fn again(&mut self) {
        match self {
            Bucket::Script { port, folder, child } => *child = run(*port, folder.path()),
            Bucket::Garage(garage) => garage.again(),
        }
    }

    pub fn port(&self) -> u16 {
        match self {
            Bucket::Script { port, .. } => *port,
            Bucket::Garage(garage) => garage.port,
        }
    }

    pub fn folder(&self) -> &Path {
        match self {
            Bucket::Script { folder, .. } => folder.path(),
            Bucket::Garage(garage) => garage.folder.path(),
        }
    }

    fn credentials_file(&self) -> PathBuf {
        self.folder().join("credentials")
    }

    /// What a server of [`Bucket::serve`] authenticates with.
    pub fn credentials(&self, key: &str, secret: &str) {
        garage::credentials(&self.credentials_file(), key, secret);
    }

    /// From now on only the second key is let in.
    pub fn rotate(&self) {
        match self {
            Bucket::Script { folder, .. } => {
                std::fs::write(folder.path().join("keys"), format!("{KEY_2} {SECRET_2}\n")).unwrap();
            }
            Bucket::Garage(garage) => {
                garage.tell(&["key", "import", "--yes", KEY_2, SECRET_2]);
                garage.tell(&["bucket", "allow", "--read", "--write", "media", "--key", KEY_2]);
                garage.tell(&["key", "delete", "--yes", KEY]);
            }
        }
    }

    /// Whether there is such an object.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Bucket::Script { folder, .. } => folder.path().join("buckets/media").join(name).exists(),
            Bucket::Garage(garage) => garage.says(&["bucket", "inspect-object", "media", name]).is_ok(),
        }
    }

    /// A server whose recordings lie here.
    pub fn serve(&self, data: &Path, url: &str) -> Command {
        self.serve_at(data, url, &format!("http://127.0.0.1:{}", self.port()))
    }

    /// The same by way of another address.
    pub fn serve_at(&self, data: &Path, url: &str, endpoint: &str) -> Command {
        let mut command = serve(data);
        let set = [
            ("URL", url.to_owned()),
            ("ENDPOINT", endpoint.to_owned()),
            ("REGION", REGION.to_owned()),
            ("ALLOW_HTTP", endpoint.starts_with("http://").to_string()),
            ("CREDENTIALS_FILE", self.credentials_file().display().to_string()),
            ("COMMIT_INTERVAL_MS", "50".to_owned()),
            ("TIMEOUT_S", "5".to_owned()),
        ];
        for (name, value) in set {
            command.env(format!("VIDICON_STORAGE__{name}"), value);
        }
        command.env("VIDICON_STORE__TAIL_BYTES", "0");
        command
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if let Bucket::Script { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn run(port: u16, folder: &Path) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(port.to_string()).arg(folder.join("buckets")).arg(folder.join("keys"));
    let child = command.stdin(Stdio::null()).spawn().unwrap();
    eventually("the bucket listens", Duration::from_secs(20), || TcpStream::connect(("127.0.0.1", port)).ok());
    child
}

/// With a spool.
pub fn spooling(mut command: Command) -> Command {
    command.env("VIDICON_STORAGE__SPOOL_BYTES", "100000000").env("VIDICON_STORAGE__SPOOL_AFTER_MS", "200");
    command
}

/// It ends by itself with this code, and one line that says so much, and nothing secret.
pub fn refused(mut command: Command, code: i32, says: &str) {
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    let told: Vec<_> = text.lines().filter(|line| line.starts_with("vidicon: ")).collect();
    assert!(told.len() == 1 && told[0].contains(says), "{says}: {text}");
    let secret = [SECRET, SECRET_2].iter().any(|secret| text.contains(secret));
    assert!(out.status.code() == Some(code) && !secret, "{:?}: {text}", out.status);
    println!("{}", told[0]);
}

pub fn make_stream(server: &Server) {
    let body = serde_json::json!({"StreamName": "gate", "DataRetentionInHours": 24});
    assert_eq!(server.request("POST", "/createStream", Some(body)).0, 200);
}
