//! Which crate may use which (root → everything · web → ingest, signaling, store, media ·
//! ingest, signaling, ml → store → media), and that `media` stays pure. Fails when a manifest says otherwise.

use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

const ALLOWED: [(&str, &[&str]); 8] = [
    ("vidicon-media", &[]),
    ("vidicon-store", &["vidicon-media"]),
    ("vidicon-ingest", &["vidicon-store", "vidicon-media"]),
    ("vidicon-signaling", &["vidicon-store", "vidicon-media"]),
    ("vidicon-ml", &["vidicon-store", "vidicon-media"]),
    ("vidicon-web", &["vidicon-ingest", "vidicon-signaling", "vidicon-store", "vidicon-media"]),
    (
        "vidicon-fuzz",
        &["vidicon-web", "vidicon-ml", "vidicon-ingest", "vidicon-signaling", "vidicon-store", "vidicon-media"],
    ),
    (
        "vidicon",
        &["vidicon-web", "vidicon-ml", "vidicon-ingest", "vidicon-signaling", "vidicon-store", "vidicon-media"],
    ),
];

/// Crates that give access to time, randomness, sockets, files or tasks; none of them belongs in `media` (invariant 9).
const IMPURE: [&str; 9] =
    ["tokio", "mio", "socket2", "getrandom", "rand", "axum", "object_store", "rusqlite", "gstreamer"];

/// Normal and build dependencies of each workspace package; development ones may point anywhere.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let names = |package: &Value| {
        let all = package["dependencies"].as_array().expect("dependencies").iter();
        all.filter(|d| d["kind"] != "dev").map(|d| d["name"].as_str().expect("a name").to_owned()).collect()
    };
    packages.iter().map(|p| (p["name"].as_str().expect("a name").to_owned(), names(p))).collect()
}

#[test]
fn no_crate_uses_one_that_the_arrows_forbid() {
    let found = dependencies();
    assert_eq!(found.len(), ALLOWED.len(), "a package was added; give it its arrows here: {:?}", found.keys());
    for (package, uses) in &found {
        let (_, allowed) = ALLOWED.iter().find(|(name, _)| name == package).expect("a known package");
        for used in uses.iter().filter(|d| d.starts_with("vidicon")) {
            assert!(allowed.contains(&used.as_str()), "{package} must not use {used}");
        }
    }
}

#[test]
fn media_has_no_impure_dependency() {
    let found = dependencies();
    let impure: Vec<_> = found["vidicon-media"].iter().filter(|d| IMPURE.contains(&d.as_str())).collect();
    assert!(impure.is_empty(), "media must stay pure, it uses {impure:?}");
}
