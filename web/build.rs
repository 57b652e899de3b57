//! Makes the folder that the page is embedded from. A page that was not built is replaced by one that says how to build it.

use std::{fs, io, path::Path};

const PLACEHOLDER: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Vidicon</title>
<h1>Vidicon runs, its page was not built</h1>
<p>Build it with <code>npm ci && npm run build</code> in <code>web/ui</code>, then build the binary again.
<code>./run</code> does both. The API under <code>/v1</code> works without the page.</p>
</html>
"#;

fn main() -> io::Result<()> {
    let dist = Path::new("ui/dist");
    let index = dist.join("index.html");
    if !index.exists() {
        fs::create_dir_all(dist)?;
        fs::write(&index, PLACEHOLDER)?;
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=ui/dist");
    Ok(())
}
