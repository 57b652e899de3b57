//! Tests that kill themselves: a child process of the same test binary, its lines, and SIGKILL.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Pseudo-random numbers whose seed is printed, so that a failure can be repeated.
pub fn random() -> impl FnMut() -> u64 {
    let mut seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    println!("seed {seed}");
    move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    }
}

/// Runs the ignored test `child` of this binary with `args` in the variable `variable`, kills it a random while after it printed
/// `open` (sometimes before), and gives the lines that it printed. A line that the kill cut short is one of them.
pub fn run_and_kill(variable: &str, args: &str, early: bool, random: &mut impl FnMut() -> u64) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(variable, args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let seen = lines.clone();
    let (opened, is_open) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in stdout.split(b'\n') {
            let Ok(line) = line else { break };
            let Ok(line) = String::from_utf8(line) else { break };
            if line == "open" {
                let _ = opened.send(());
            }
            seen.lock().unwrap().push(line);
        }
    });
    if early {
        std::thread::sleep(Duration::from_millis(random() % 40));
    } else {
        let _ = is_open.recv_timeout(Duration::from_secs(20));
        std::thread::sleep(Duration::from_micros(random() % 350_000));
    }
    let ended = child.try_wait().unwrap();
    // SIGKILL: nothing of the child runs after it.
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(ended.is_none(), "the child ended by itself: {}", String::from_utf8_lossy(&output.stderr));
    reader.join().unwrap();
    Arc::try_unwrap(lines).unwrap().into_inner().unwrap()
}
