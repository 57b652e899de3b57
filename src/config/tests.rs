use super::overlay::parse;
use super::*;

fn from(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let config = parse(Path::new("vidicon.toml"), text, variables).map_err(|e| e.to_string())?;
    config.validate(Path::new("vidicon.toml")).map_err(|e| e.to_string())?;
    Ok(config)
}

#[test]
fn an_unknown_key_names_itself_its_line_and_the_nearest_valid_key() {
    let error = from("listen = \"127.0.0.1:1\"\n\n[store]\ncommit_intervall_ms = 5\n", &[]).expect_err("unknown key");
    assert!(error.contains("vidicon.toml:4"), "{error}");
    assert!(error.contains("`commit_intervall_ms`") && error.contains("`commit_interval_ms`"), "{error}");
}

#[test]
fn an_ill_typed_value_names_its_line_and_key() {
    let error = from("[store]\ntail_bytes = \"many\"\n", &[]).expect_err("ill-typed");
    assert!(error.contains("vidicon.toml:2") && error.contains("tail_bytes"), "{error}");
}

#[test]
fn an_error_never_prints_a_password() {
    let text = "[[cameras]]\nname = \"a\"\nurl = \"rtsp://h/\"\npasswort = \"hunter2\"\n";
    let error = from(text, &[]).expect_err("unknown key");
    assert!(!error.contains("hunter2") && error.contains("`password`"), "{error}");
}

#[test]
fn the_environment_goes_over_the_file_and_is_named_when_wrong() {
    let text = "[store]\ncommit_interval_ms = 300\n";
    let config = from(text, &[("VIDICON_STORE__COMMIT_INTERVAL_MS", "100"), ("HOME", "/")]).expect("valid");
    assert_eq!(config.store.commit_interval_ms, 100);
    let error = from(text, &[("VIDICON_STORE__COMMIT_INTERVAL", "100")]).expect_err("unknown key");
    assert!(error.contains("VIDICON_STORE__COMMIT_INTERVAL") && error.contains("`commit_interval_ms`"), "{error}");
    assert!(from(text, &[("VIDICON_PORT", "tcp://192.0.2.1:80")]).is_ok(), "what Kubernetes sets is none of ours");
    let error = from(text, &[("VIDICON_STORE__TAIL_BYTES", "lots")]).expect_err("ill-typed");
    assert!(error.contains("VIDICON_STORE__TAIL_BYTES"), "{error}");
}

#[test]
fn a_fragment_must_fit_the_byte_budget() {
    assert!(from("[store]\nstream_budget_bytes = 1048576\n", &[]).is_ok(), "what is not set follows the budget");
    let error = from("[putmedia.limits]\nmax_fragment_bytes = 268435456\n", &[]).expect_err("more than the budget");
    assert!(error.contains("vidicon.toml: putmedia.limits.max_fragment_bytes is 268435456"), "{error}");
    assert!(error.contains("store.stream_budget_bytes (67108864)") && error.contains("at most 58720256"), "{error}");
    assert!(
        from("[putmedia.limits]\nmax_fragment_bytes = 268435456\n[store]\nstream_budget_bytes = 335544320\n", &[])
            .is_ok()
    );
}

#[test]
fn references_must_resolve_and_names_be_unique() {
    let camera = "[[cameras]]\nname = \"gate\"\nurl = \"rtsp://h/\"\n";
    assert!(from(camera, &[]).is_ok());
    let error = from(&format!("{camera}{camera}"), &[]).expect_err("twice");
    assert!(error.contains("gate") && error.contains("twice"), "{error}");
    let rule = "[[rules]]\nname = \"r\"\ncamera = \"gate\"\ntargets = [\"nowhere\"]\n";
    let error = from(&format!("{camera}{rule}"), &[]).expect_err("no target");
    assert!(error.contains("nowhere"), "{error}");
    let error = from("[[rules]]\nname = \"r\"\ncamera = \"gatee\"\n", &[]).expect_err("no camera");
    assert!(error.contains("gatee"), "{error}");
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let text = include_str!("../../vidicon.example.toml");
    let uncommented: String =
        text.lines().map(|l| l.strip_prefix("#: ").unwrap_or(l)).fold(String::new(), |all, l| all + l + "\n");
    let config = from(&uncommented, &[]).expect("the example is valid");
    let shown = toml::Table::try_from(&config).expect("serialises");
    let mut defaults = toml::Table::try_from(Config::default()).expect("serialises");
    for list in ["cameras", "rules", "targets"] {
        defaults.insert(list.into(), shown[list].clone());
    }
    assert_eq!(shown, defaults, "the example's values are the defaults");
    let written: toml::Table = toml::from_str(&uncommented).expect("parses");
    for (key, value) in &defaults {
        let toml::Value::Table(table) = value else {
            assert!(written.contains_key(key), "the example lacks {key}");
            continue;
        };
        for inner in table.keys() {
            assert!(written.get(key).and_then(|t| t.get(inner)).is_some(), "the example lacks {key}.{inner}");
        }
    }
}
