//! `vidicon demo`: the server as anyone would run it, with a camera in a process of its own, a rule, and a receiver.

use super::serve::run_with;
use crate::args::DemoOptions;
use crate::config::{self, Config};
use crate::credentials::random_text;
use crate::demo::receiver;
use crate::running::{Failure, Running};
use crate::telemetry;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// How the camera process says where it is.
const READY: &str = "ready ";

/// Runs until a signal, then stops the server, the camera and the receiver, and removes what is temporary.
pub(crate) fn run(options: DemoOptions) -> Result<(), Failure> {
    let mut serve = options.serve.clone();
    serve.listen.get_or_insert(([127, 0, 0, 1], 8080).into());
    serve.log.get_or_insert_with(|| "warn".into());
    let temporary = (serve.data.is_none() && !options.keep).then(Folder::make).transpose()?;
    if let Some(folder) = &temporary {
        serve.data = Some(folder.0.clone());
    }
    let mut config = config::load(&serve).map_err(Failure::config)?;
    telemetry::logs(&config.log, config.log_format).map_err(Failure::config)?;

    // Before the runtime exists: the listener is handed over to it.
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))
        .map_err(|e| Failure::other(format!("the receiver of the demo cannot be bound: {e}")))?;
    let hook = listener.local_addr().map_err(Failure::other)?;
    let camera = Camera::start()?;
    let secret = random_text(32);
    add_scene(&mut config, &camera.url, &format!("http://{hook}/alerts"), &secret)?;

    let data = config.data.clone();
    run_with(config, |running| {
        let started = receiver::start(listener, secret).map_err(Failure::other);
        if started.is_ok() {
            print_banner(running, &camera.url, &data, temporary.is_some());
        }
        async { started }
    })
}

/// The demo's camera, receiver and rules, as a configuration file would have them.
fn add_scene(config: &mut Config, camera: &str, hook: &str, secret: &str) -> Result<(), Failure> {
    let text = format!(
        "[[cameras]]\nname = \"street\"\nurl = \"{camera}\"\n\
         [[targets]]\nname = \"receiver\"\nurl = \"{hook}\"\nsecret = \"{secret}\"\nallow_local = true\n\
         [[rules]]\nname = \"people\"\ncamera = \"street\"\nclasses = [\"person\"]\ncooldown_s = 10\ntargets = [\"receiver\"]\n\
         [[rules]]\nname = \"vehicles-on-the-road\"\ncamera = \"street\"\nclasses = [\"car\", \"bicycle\"]\ncooldown_s = 15\n\
         zone = [[0.0, 0.5], [1.0, 0.5], [1.0, 1.0], [0.0, 1.0]]\ntargets = [\"receiver\"]\n"
    );
    let scene: Config = toml::from_str(&text).map_err(Failure::other)?;
    config.cameras.extend(scene.cameras);
    config.targets.extend(scene.targets);
    config.rules.extend(scene.rules);
    Ok(())
}

#[allow(clippy::print_stdout)]
fn print_banner(running: &Running, camera: &str, data: &std::path::Path, temporary: bool) {
    let root = &running.credentials.root;
    println!("Vidicon {} demo", env!("CARGO_PKG_VERSION"));
    running.pages.iter().for_each(|page| println!("  page               {page}"));
    println!("  access key id      {}", root.access_key_id);
    println!("  secret access key  {}", root.secret_access_key);
    println!("  camera             {camera}");
    println!("  data               {}{}", data.display(), if temporary { " (removed at the end)" } else { "" });
    println!("Alerts that the receiver gets are printed below. Ctrl-C stops.");
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Folder, Failure> {
        let path = std::env::temp_dir().join(format!("vidicon-demo-{}", random_text(10).to_lowercase()));
        std::fs::create_dir(&path).map_err(|e| Failure::other(format!("{} cannot be made: {e}", path.display())))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The camera's process. It ends when its standard input closes, so it never outlives this one.
struct Camera {
    child: Child,
    url: String,
}

impl Camera {
    fn start() -> Result<Camera, Failure> {
        let program = std::env::current_exe().map_err(Failure::other)?;
        let mut child = Command::new(program)
            .args(["demo-camera", "--port", "0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Failure::other(format!("the demo camera cannot be started: {e}")))?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        // The camera prints one line when it is ready, or says on standard error what is missing and ends.
        let read = BufReader::new(stdout).read_line(&mut line);
        match (read, line.trim().strip_prefix(READY)) {
            (Ok(_), Some(url)) => Ok(Camera { url: url.to_owned(), child }),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                Err(Failure::other("the demo camera did not start; the lines above say why"))
            }
        }
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
