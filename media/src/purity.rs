//! Invariant 9: this crate never asks the time, draws randomness, or touches a socket, a file or a task.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// What would break the invariant if it stood in the code.
const FORBIDDEN: [&str; 15] = [
    "SystemTime",
    "Instant",
    "std::time",
    "fs::",
    "std::fs",
    "net::",
    "std::net",
    "tokio",
    "getrandom",
    "rand::",
    "HashMap",
    "std::thread",
    "std::process",
    "std::env",
    "io::stdin",
];

/// Dependencies that keep to it.
const DEPENDENCIES: [&str; 3] = ["bytes", "serde", "thiserror"];

/// The code of a file without comments and without what is compiled for tests alone.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut lines = text.lines().zip(1..);
    let mut code = Vec::new();
    while let Some((line, number)) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            // Either `mod tests;`, or a block that ends with a brace in the same column.
            let indent = &line[..line.len() - line.trim_start().len()];
            let opens = lines.next().is_some_and(|(next, _)| next.ends_with('{'));
            while opens && lines.next().is_some_and(|(line, _)| line != format!("{indent}}}")) {}
            continue;
        }
        code.push((number, line.split("//").next().unwrap()));
    }
    code
}

/// The forbidden words in a file, as `line: word`.
fn impurities(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in code(text) {
        let words = FORBIDDEN.iter().filter(|word| line.contains(**word));
        found.extend(words.map(|word| format!("line {number}: {word}")));
    }
    found
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else {
            out.push(path);
        }
    }
}

#[test]
fn no_source_of_this_crate_is_impure() {
    let mut files = Vec::new();
    sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut files);
    // Declared for tests alone in `lib.rs` and the `mod.rs` files.
    let for_tests = ["tests.rs", "testing.rs", "purity.rs"];
    let in_tests = |file: &Path| file.components().any(|part| part.as_os_str() == "tests");
    files.retain(|file| !in_tests(file) && !for_tests.iter().any(|name| file.ends_with(name)));
    assert!(files.len() > 20, "only {} files", files.len());
    for file in files {
        let found = impurities(&std::fs::read_to_string(&file).unwrap());
        assert!(found.is_empty(), "{}: {found:?}", file.display());
    }
}

#[test]
fn no_dependency_of_this_crate_is_impure() {
    let manifest = include_str!("../Cargo.toml");
    let (_, rest) = manifest.split_once("[dependencies]\n").unwrap();
    let names = rest.lines().take_while(|line| !line.starts_with('[')).filter_map(|line| line.split(['.', ' ']).next());
    let others: Vec<_> = names.filter(|name| !name.is_empty() && !DEPENDENCIES.contains(name)).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn the_scan_finds_what_it_looks_for_and_leaves_tests_alone() {
    let pure = "use std::fmt; // SystemTime\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\nfn f() {}\n";
    assert_eq!(impurities(pure), Vec::<String>::new());
    let impure = "#[cfg(test)]\nmod tests;\nfn f() -> u64 {\n    Instant::now()\n}\n";
    assert_eq!(impurities(impure), ["line 4: Instant"]);
    assert_eq!(impurities("#[cfg(test)]\nmod t {\n}\nuse tokio::net::TcpStream;"), ["line 4: net::", "line 4: tokio"]);
}
