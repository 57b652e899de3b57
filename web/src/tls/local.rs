//! The authority of a server without certificates from elsewhere, in the data folder: made once, trusted once by whoever uses the server, and
//! asked for a certificate when the names or addresses of the machine change, and in time before the old one ends.
//!
//! `tls/authority.pem` is the authority with its key; `tls/ca.pem` its certificate alone; `tls/server.pem` what the port shows, with its key.

use super::{authority::Authority, load::Files};
use media::UnixMillis;
use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The most names of a certificate.
const MOST_NAMES: usize = 100;

pub(super) struct Local {
    folder: PathBuf,
    /// Those that the configuration names.
    names: Vec<String>,
    authority: Authority,
}

impl Local {
    /// Reads the authority, or makes one, and sees that there is a certificate for `names` and for what the machine is called. Blocks on files.
    ///
    /// # Errors
    /// A line that names the file and what is wrong with it.
    pub(super) fn open(data: &Path, names: Vec<String>) -> Result<Local, String> {
        let folder = data.join("tls");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|e| format!("tls.local: {} cannot be made: {e}", folder.display()))?;
        let path = folder.join("authority.pem");
        let failed = |why: String| {
            format!(
                "tls.local: {}: {why} (put a copy of it back; without the file a new authority is made, which everybody must trust anew)",
                path.display()
            )
        };
        let authority = match std::fs::read_to_string(&path) {
            Ok(text) => Authority::read(&text).map_err(failed)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let authority = Authority::make(now()).map_err(failed)?;
                write(&path, &authority.pem(), 0o600).map_err(|e| failed(format!("it cannot be written: {e}")))?;
                tracing::info!(fingerprint = authority.fingerprint(), "a local authority was made");
                authority
            }
            Err(e) => return Err(failed(format!("it cannot be read: {e}"))),
        };
        if !authority.outlives(now()) {
            return Err(failed("it ends, or by this machine's clock does not hold yet".into()));
        }
        let local = Local { folder, names, authority };
        write(&local.certificate_path(), local.authority.certificate(), 0o644)
            .map_err(|e| format!("tls.local: {} cannot be written: {e}", local.certificate_path().display()))?;
        local.refresh()?;
        Ok(local)
    }

    /// What is to be trusted: the authority's certificate in PEM.
    pub(super) fn certificate(&self) -> &str {
        self.authority.certificate()
    }

    /// Where that lies.
    pub(super) fn certificate_path(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// SHA-256 of the authority's certificate, in pairs of digits.
    pub(super) fn fingerprint(&self) -> String {
        self.authority.fingerprint()
    }

    /// Both files that the port shows: they are one, so that they always belong together.
    pub(super) fn files(&self, device_ca: Option<PathBuf>) -> Files {
        Files { certificate: self.server_path(), key: self.server_path(), device_ca }
    }

    fn server_path(&self) -> PathBuf {
        self.folder.join("server.pem")
    }

    /// Issues a certificate if the one that is there lacks a name, ends soon, or is damaged.
    pub(super) fn refresh(&self) -> Result<(), String> {
        let (path, now) = (self.server_path(), now());
        let has = std::fs::read_to_string(&path).unwrap_or_default();
        let wanted = wanted(&self.names, &machine());
        if self.authority.serves(&has, &wanted, now) {
            return Ok(());
        }
        let issued = self.authority.issue(&wanted, now);
        let written = issued.and_then(|text| write(&path, &text, 0o600).map_err(|e| e.to_string()));
        written.map_err(|why| format!("tls.local: {}: {why}", path.display()))?;
        tracing::info!(names = wanted.join(" "), "a certificate was issued");
        Ok(())
    }
}

/// What the machine is called, and its addresses.
fn machine() -> Vec<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim().to_ascii_lowercase();
    let mut names = vec!["localhost".to_owned()];
    if !host.is_empty() {
        // What it is called by multicast DNS (RFC 6762).
        let local = (!host.contains('.')).then(|| format!("{host}.local"));
        names.extend([Some(host), local].into_iter().flatten());
    }
    let addresses = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "the addresses of the interfaces cannot be listed");
        Vec::new()
    });
    let mut addresses: Vec<IpAddr> = addresses.into_iter().map(|interface| interface.ip()).collect();
    addresses.extend([IpAddr::from([127, 0, 0, 1]), IpAddr::from([0u16, 0, 0, 0, 0, 0, 0, 1])]);
    addresses.retain(|address| match address {
        IpAddr::V4(address) => !address.is_link_local(),
        // Browsers name these with a zone, which no certificate has.
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    });
    // Those of containers come and go, and stand last.
    addresses.sort_by_key(|address| (!address.is_loopback(), address.is_ipv6()));
    names.extend(addresses.iter().map(IpAddr::to_string));
    names
}

/// Names for a certificate, each once, those of the configuration first.
fn wanted(names: &[String], machine: &[String]) -> Vec<String> {
    let mut wanted: Vec<String> = Vec::new();
    for name in names.iter().chain(machine.iter().filter(|name| is_name(name))) {
        if wanted.len() < MOST_NAMES && !wanted.contains(name) {
            wanted.push(name.clone());
        }
    }
    wanted
}

/// Whether a certificate can be for it: an address, or a DNS name in lower case, with `*.` before it or without.
pub(super) fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let digits = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match name.parse::<IpAddr>() {
        // As it is written here, so that it is found in a certificate.
        Ok(address) => address.to_string() == name,
        Err(_) => {
            let name = name.strip_prefix("*.").unwrap_or(name);
            name.len() <= 253 && !digits(name) && name.split('.').all(label)
        }
    }
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The whole file, or the one before.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&new)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn it_is_made_once_and_keys_are_private() {
        let data = tempfile::tempdir().unwrap();
        let open = |names: &[&str]| Local::open(data.path(), names.iter().map(|name| (*name).to_owned()).collect());
        let first = open(&["nvr.example"]).unwrap();
        let folder = data.path().join("tls");
        let [authority, server, ca] = ["authority.pem", "server.pem", "ca.pem"].map(|name| folder.join(name));
        assert_eq!([&folder, &authority, &server, &ca].map(|path| mode(path)), [0o700, 0o600, 0o600, 0o644]);
        assert_eq!(std::fs::read_to_string(&ca).unwrap(), first.certificate());
        let issued = std::fs::read_to_string(&server).unwrap();

        let again = open(&["nvr.example"]).unwrap();
        assert_eq!(again.fingerprint(), first.fingerprint());
        assert_eq!(std::fs::read_to_string(&server).unwrap(), issued, "it is still of use");
        let renamed = open(&["other.example"]).unwrap();
        let anew = std::fs::read_to_string(&server).unwrap();
        assert_ne!(anew, issued, "a new name");
        std::fs::write(&server, "junk").unwrap();
        renamed.refresh().unwrap();
        assert!(std::fs::read_to_string(&server).unwrap().contains("PRIVATE KEY"));

        std::fs::write(&authority, "junk").unwrap();
        let why = open(&[]).err().unwrap();
        assert!(why.starts_with("tls.local: ") && why.contains("authority.pem") && !why.contains("junk"), "{why}");
        std::fs::remove_file(&authority).unwrap();
        let made = open(&[]).unwrap();
        assert_ne!(made.fingerprint(), first.fingerprint());
        assert_eq!(std::fs::read_to_string(&ca).unwrap(), made.certificate());
    }

    #[test]
    fn names_are_those_of_the_machine_each_once() {
        let machine = machine();
        assert!(machine.iter().any(|name| name == "localhost") && machine.iter().any(|name| name == "127.0.0.1"));
        let names = wanted(&["a.example".into(), "localhost".into()], &machine);
        assert_eq!(names[..2], ["a.example", "localhost"]);
        assert_eq!(names.iter().filter(|name| *name == "localhost").count(), 1);
        let many: Vec<String> = (0..300).map(|n| format!("n{n}")).collect();
        assert_eq!(wanted(&[], &many).len(), MOST_NAMES);
    }

    #[test]
    fn what_can_stand_in_a_certificate() {
        for name in ["a", "nvr.local", "*.cams.example", "10.0.0.1", "fd00::2", "my_nvr.lan", "xn--bcher-kva.example"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "*",
            "*.",
            "a..b",
            ".a",
            "a.",
            "-a",
            "a-",
            "Nvr",
            "a b",
            "b\u{fc}cher",
            "10.0.0",
            "FD00::2",
            "fe80::1%eth0",
            "[::1]",
            "a:80",
        ] {
            assert!(!is_name(name), "{name}");
        }
        assert!(!is_name(&"a.".repeat(127)) && !is_name(&"a".repeat(64)));
    }
}
