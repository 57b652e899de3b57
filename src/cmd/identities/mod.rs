//! `vidicon key`, `vidicon role`, `vidicon policy`, `vidicon certificate`, `vidicon role-alias`, `vidicon hold`: identities and legal holds managed from the command line, by the native API of a running server or
//! in a data folder that no server has open.

pub(crate) mod args;
mod asked;
pub(crate) mod device_args;
mod device_asked;
pub(crate) mod remote;
mod show;

use crate::{
    args::ServeOptions,
    config::{self, Config},
    running::Failure,
};
use args::{HoldCommand, KeyCommand, Options, PolicyCommand, RoleCommand, Where};
use device_args::{CertificateCommand, RoleAliasCommand};
use media::UnixMillis;
use serde_json::Value;
use show::Endpoint;
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use store::{Kind, Store};
use web::admin::{Desk, Request};

pub(crate) fn key(options: Options<KeyCommand>) -> Result<(), Failure> {
    let makes = matches!(options.command, KeyCommand::Create { .. } | KeyCommand::Rotate { .. });
    let request = asked::of_key(options.command, now())?;
    let (value, endpoint) = answer(&options.place, request)?;
    match makes && !options.place.json {
        true => show::made(&value, &endpoint),
        false => show::answer(&value, options.place.json),
    }
    Ok(())
}

pub(crate) fn role(options: Options<RoleCommand>) -> Result<(), Failure> {
    let (value, _) = answer(&options.place, asked::of_role(options.command)?)?;
    show::answer(&value, options.place.json);
    Ok(())
}

pub(crate) fn policy(options: Options<PolicyCommand>) -> Result<(), Failure> {
    let (value, _) = answer(&options.place, asked::of_policy(options.command)?)?;
    show::answer(&value, options.place.json);
    Ok(())
}

pub(crate) fn certificate(options: Options<CertificateCommand>) -> Result<(), Failure> {
    let (value, _) = answer(&options.place, device_asked::of_certificate(options.command)?)?;
    show::answer(&value, options.place.json);
    Ok(())
}

pub(crate) fn role_alias(options: Options<RoleAliasCommand>) -> Result<(), Failure> {
    let (value, _) = answer(&options.place, device_asked::of_role_alias(options.command)?)?;
    show::answer(&value, options.place.json);
    Ok(())
}

pub(crate) fn hold(options: Options<HoldCommand>) -> Result<(), Failure> {
    let (value, _) = answer(&options.place, asked::of_hold(options.command)?)?;
    show::answer(&value, options.place.json);
    Ok(())
}

fn now() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64))
}

/// Asks the server, or opens the data folder; all pages of a list as one.
fn answer(place: &Where, request: Request) -> Result<(Value, Endpoint), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::other(format!("threads cannot be started: {e}")))?;
    match &place.url {
        Some(url) => {
            let server = remote::Server::of(url, place.ca.as_deref())?;
            let value = runtime.block_on(all(request, async |request: &Request| server.ask(request).await))?;
            Ok((value, Endpoint::Known(url.trim_end_matches('/').to_owned())))
        }
        None => {
            let options =
                ServeOptions { data: place.data.clone(), config: place.config.clone(), ..ServeOptions::default() };
            let config = config::load(&options).map_err(Failure::config)?;
            let endpoint = Endpoint::of(&config);
            Ok((runtime.block_on(local(config, request))?, endpoint))
        }
    }
}

/// Opens the data folder for one request.
async fn local(config: Config, request: Request) -> Result<Value, Failure> {
    let folder = config.data.display().to_string();
    if !config.data.join("format").exists() {
        let text = format!("{folder} is no data folder: name one with --data, or a running server with --url");
        return Err(Failure::other(text));
    }
    let store = Store::open(config.store, Arc::new(now)).await.map_err(|error| match error.kind() {
        Kind::Unavailable => Failure::other(format!(
            "{error}: ask the server that runs there with --url http://HOST:PORT, and VIDICON_ROOT_ACCESS_KEY_ID and \
             VIDICON_ROOT_SECRET_ACCESS_KEY set"
        )),
        _ => Failure::other(error),
    })?;
    let desk = Desk::new(&store, &config.aws.account_id);
    let value = all(request, async |request: &Request| desk.answer(request).await.map_err(Failure::other)).await;
    let stopped = store.stop().await.map_err(Failure::other);
    value.and_then(|value| stopped.map(|()| value))
}

/// Asks once, or for a list until its last page.
async fn all(mut request: Request, ask: impl AsyncFn(&Request) -> Result<Value, Failure>) -> Result<Value, Failure> {
    let mut whole = ask(&request).await?;
    while let Some(next) = whole["next"].as_str().map(str::to_owned) {
        match &mut request {
            Request::Keys(page) => page.after = Some(next),
            Request::Roles(page) | Request::Policies(page) | Request::RoleAliases(page) => page.after = Some(next),
            Request::Certificates(page) => page.after = Some(next),
            _ => break,
        }
        let mut page = ask(&request).await?;
        for (member, entries) in whole.as_object_mut().into_iter().flatten() {
            if let (Some(entries), Some(more)) = (entries.as_array_mut(), page[member.as_str()].as_array_mut()) {
                entries.append(more);
            }
        }
        whole["next"] = page["next"].take();
    }
    if let Some(whole) = whole.as_object_mut() {
        whole.remove("next");
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;
    use web::admin::{Keys, NewKey};

    #[tokio::test]
    async fn pages_become_one_list() {
        let ask = async |request: &Request| {
            let Request::Keys(page) = request else { panic!("another request") };
            Ok(match page.after.as_deref() {
                None => json!({"keys": [1, 2], "next": "2"}),
                Some("2") => json!({"keys": [3], "next": "3"}),
                Some("3") => json!({"keys": []}),
                Some(other) => panic!("{other}"),
            })
        };
        assert_eq!(all(Request::Keys(Keys::default()), ask).await.unwrap(), json!({"keys": [1, 2, 3]}));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_data_folder_without_a_server() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { data: folder.path().join("none"), ..Config::default() };
        let request = || Request::CreateKey(NewKey { user: "door".into(), ..NewKey::default() });
        let error = local(config.clone(), request()).await.unwrap_err().to_string();
        assert!(error.contains("is no data folder") && !config.data.exists(), "{error}");
        config.data = folder.path().to_owned();
        config.store.data = folder.path().to_owned();
        let store = Store::open(config.store.clone(), Arc::new(now)).await.unwrap();
        let error = local(config.clone(), request()).await.unwrap_err().to_string();
        assert!(error.contains("in use") && error.contains("--url"), "{error}");
        store.stop().await.unwrap();
        let hold = |command| asked::of_hold(command).unwrap();
        let stream: media::StreamName = "gate".parse().unwrap();
        let place = args::HoldCommand::Place {
            stream: stream.clone(),
            name: "case".into(),
            from: "2026-11-23T06:00:00Z".into(),
            to: "2026-11-24".into(),
            reason: "a theft".into(),
        };
        let error = local(config.clone(), hold(place.clone())).await.unwrap_err().to_string();
        assert!(error.contains("no stream gate"), "{error}");
        let store = Store::open(config.store.clone(), Arc::new(now)).await.unwrap();
        store.create_stream(&stream, None).await.unwrap();
        store.stop().await.unwrap();
        let placed = local(config.clone(), hold(place)).await.unwrap();
        assert_eq!((&placed["from"], &placed["to"]), (&json!(1_795_413_600_000i64), &json!(1_795_478_400_000i64)));
        let list = || hold(args::HoldCommand::List { stream: stream.clone() });
        assert_eq!(local(config.clone(), list()).await.unwrap()["holds"], json!([placed]));
        let lift = hold(args::HoldCommand::Lift { stream: stream.clone(), name: "case".into() });
        assert_eq!(local(config.clone(), lift).await.unwrap(), Value::Null);
        assert_eq!(local(config.clone(), list()).await.unwrap()["holds"], json!([]));
        let made = local(config.clone(), request()).await.unwrap();
        let id = made["access_key_id"].as_str().unwrap().to_owned();
        let listed = local(config, Request::Keys(Keys::default())).await.unwrap();
        assert_eq!(listed["keys"][0]["access_key_id"], id);
    }
}
