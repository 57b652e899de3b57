//! A real S3 server for the tests: Garage, one node with a bucket `media`, in a process and a folder of its own.
//!
//! `VIDICON_GARAGE` names the program; `./run test` builds it. Without it the tests say that they are skipped.
#![allow(dead_code, clippy::print_stdout, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The key that the bucket is made with. Garage wants them to look so.
pub const KEY: &str = "GK0123456789abcdef01234567";
pub const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// What requests must be signed for.
pub const REGION: &str = "garage";

/// The server; it ends with this.
pub struct Garage {
    pub port: u16,
    pub folder: tempfile::TempDir,
    program: PathBuf,
    child: Option<Child>,
}

impl Garage {
    /// `None`, with a line that says so, where there is none.
    pub fn start() -> Option<Garage> {
        let Some(program) = std::env::var_os("VIDICON_GARAGE").filter(|path| !path.is_empty()) else {
            println!("skipped: VIDICON_GARAGE names no S3 server (./run test builds one)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (s3, rpc) = (free(), free());
        let (port, rpc_port) = (s3.local_addr().unwrap().port(), rpc.local_addr().unwrap().port());
        let at = folder.path().display();
        let config = format!(
            "metadata_dir = \"{at}/meta\"\ndata_dir = \"{at}/data\"\ndb_engine = \"lmdb\"\nlmdb_map_size = \"2G\"\n\
             replication_factor = 1\nrpc_secret = \"{SECRET}\"\nrpc_bind_addr = \"127.0.0.1:{rpc_port}\"\n\
             rpc_public_addr = \"127.0.0.1:{rpc_port}\"\n\n[s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"127.0.0.1:{port}\"\n"
        );
        std::fs::write(folder.path().join("garage.toml"), config).unwrap();
        drop((s3, rpc));
        let mut garage = Garage { port, folder, program: program.into(), child: None };
        garage.credentials(KEY, SECRET);
        garage.again();
        Some(garage)
    }

    /// Starts it, and waits until it takes requests.
    pub fn again(&mut self) {
        self.kill();
        let mut command = self.command();
        command.arg("server").env("RUST_LOG", "warn").stdin(Stdio::null());
        if !self.folder.path().join("meta").exists() {
            command.args(["--single-node", "--default-bucket"]).env("GARAGE_DEFAULT_BUCKET", "media");
            command.env("GARAGE_DEFAULT_ACCESS_KEY", KEY).env("GARAGE_DEFAULT_SECRET_KEY", SECRET);
        }
        self.child = Some(command.spawn().unwrap());
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "Garage does not listen: {ended:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.folder.path().join("garage.toml"));
        command
    }

    /// Tells the running server something, as its operator would; what it says.
    pub fn says(&self, words: &[&str]) -> Result<String, String> {
        let output = self.command().args(words).env("RUST_LOG", "error").output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    pub fn tell(&self, words: &[&str]) {
        self.says(words).unwrap_or_else(|error| panic!("garage {words:?}: {error}"));
    }

    /// What clients authenticate with.
    pub fn credentials_file(&self) -> PathBuf {
        self.folder.path().join("credentials")
    }

    pub fn credentials(&self, key: &str, secret: &str) {
        credentials(&self.credentials_file(), key, secret);
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// A file such as `~/.aws/credentials`.
pub fn credentials(file: &Path, key: &str, secret: &str) {
    let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    std::fs::write(file, text).unwrap();
}

impl Drop for Garage {
    fn drop(&mut self) {
        self.kill();
    }
}
