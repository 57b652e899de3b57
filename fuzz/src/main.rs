//! The fuzz targets of all crates: whatever parses foreign bytes. `./run fuzz` builds this program with libFuzzer and runs each of them;
//! built without, it gives files to one: `vidicon-fuzz mkv_header crash-…`. Its test gives each target its seeds.
//!
//! What belongs here: names and seeds. What does not: what must hold of a result, which stands beside what is tested.
#![cfg_attr(feature = "libfuzzer", no_main)]
#![cfg_attr(feature = "libfuzzer", allow(unsafe_code, reason = "libFuzzer calls a symbol that has no name of Rust's"))]

type Body = fn(&[u8]);

/// By name. What a target takes, and what it asserts, its body says.
const TARGETS: &[(&str, Body)] = &[
    ("aac_asc", media::fuzzing::aac_asc),
    ("access_unit", ingest::access_unit::fuzz),
    ("bodies", web::fuzzing::bodies),
    ("certificate", web::fuzzing::certificate),
    ("channel", signaling::fuzzing::channel),
    ("chunked", web::fuzzing::chunked),
    ("clock", ingest::clock::drive),
    ("datagram", signaling::fuzzing::datagram),
    ("envelope", store::fuzz_envelope),
    ("fmp4_segment", media::fuzzing::fmp4_segment),
    ("fragmenter", media::fuzzing::fragmenter),
    ("frames", web::fuzzing::frames),
    ("h264_nals", media::fuzzing::h264_nals),
    ("h264_sps", media::fuzzing::h264_sps),
    ("id_token", web::fuzzing::id_token),
    ("media", web::fuzzing::media),
    ("mkv_cluster", media::fuzzing::mkv_cluster),
    ("mkv_header", media::fuzzing::mkv_header),
    ("mkv_session", media::fuzzing::mkv_session),
    ("mkv_tags", media::fuzzing::mkv_tags),
    ("policy", web::fuzzing::policy),
    ("postprocess", ml::postprocess::fuzz),
    ("publisher", signaling::fuzzing::publisher),
    ("putmedia", ingest::putmedia::core::fuzzing::drive),
    ("sdp_offer", signaling::fuzzing::sdp_offer),
    ("segment_record", store::fuzz_record),
    ("session_token", web::fuzzing::session_token),
    ("sigv4", web::fuzzing::sigv4),
    ("sts", web::fuzzing::sts),
    ("stun_message", signaling::fuzzing::stun_message),
    ("turn_session", signaling::fuzzing::turn_session),
    ("whip_offer", signaling::fuzzing::whip_offer),
];

fn body(name: &str) -> Option<Body> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, body)| *body)
}

#[cfg(feature = "libfuzzer")]
mod fuzzer {
    use super::{Body, body};
    use std::sync::LazyLock;

    /// libFuzzer takes the arguments, so the target is named by a variable.
    static TARGET: LazyLock<Body> = LazyLock::new(|| {
        let name = std::env::var("VIDICON_FUZZ_TARGET").unwrap_or_default();
        body(&name).unwrap_or_else(|| panic!("VIDICON_FUZZ_TARGET names no target: {name:?}"))
    });

    libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
}

#[cfg(not(feature = "libfuzzer"))]
fn main() -> std::process::ExitCode {
    use std::io::Write;
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next();
    let Some(body) = name.as_deref().and_then(body) else {
        let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
        // Nobody may read it.
        let _ = writeln!(std::io::stdout(), "{}", names.join("\n"));
        return std::process::ExitCode::from(if name.is_none() { 0 } else { 2 });
    };
    for file in arguments {
        match std::fs::read(&file) {
            Ok(data) => body(&data),
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "{file}: {error}");
                return std::process::ExitCode::FAILURE;
            }
        }
    }
    std::process::ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// What a fuzzer found once stands among the seeds.
    #[test]
    fn every_target_takes_its_seeds() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
        let mut given = BTreeSet::new();
        for folder in std::fs::read_dir(&seeds).unwrap() {
            let folder = folder.unwrap();
            let name = folder.file_name().into_string().unwrap();
            let body = body(&name).unwrap_or_else(|| panic!("seeds/{name} is no target's"));
            for seed in std::fs::read_dir(folder.path()).unwrap() {
                let data = std::fs::read(seed.unwrap().path()).unwrap();
                body(&data);
                for len in (0..data.len()).step_by(data.len() / 200 + 1) {
                    body(&data[..len]);
                }
            }
            given.insert(name);
        }
        let named: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(given, named, "each target has seeds");
        assert_eq!(named.len(), TARGETS.len());
    }
}
