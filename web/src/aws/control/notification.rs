//! `DescribeNotificationConfiguration`, `UpdateNotificationConfiguration`: whom fragments that ask for it are told to.

use crate::{
    auth::Caller,
    aws::{
        Error, Json, Target,
        json::done,
        records::{StreamRecord, notification::NotificationConfiguration},
    },
    targets,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Store, notifications::Destination};
use url::Url;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Described {
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_configuration: Option<NotificationConfiguration>,
}

pub(crate) async fn describe(caller: Caller, Json(target): Json<Target>) -> Result<Json<Described>, Error> {
    let granted = target.resolve(&caller).await?;
    let record = StreamRecord::read(&granted.app()?.store, granted.id()).await?;
    Ok(Json(Described { notification_configuration: record.notification }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Update {
    #[serde(flatten)]
    target: Target,
    /// Without one, the stream's is removed.
    notification_configuration: Option<NotificationConfiguration>,
}

pub(crate) async fn update(caller: Caller, Json(input): Json<Update>) -> Result<Json<Value>, Error> {
    let granted = input.target.resolve(&caller).await?;
    let (store, info) = (&granted.app()?.store, granted.info());
    if let Some(configuration) = &input.notification_configuration {
        let destination = configuration.destination()?;
        if configuration.is_enabled() {
            reaches(store, &destination).await?;
            // What is not persisted is not told of.
            if info.retention_hours == Some(0) {
                return Err(Error::no_retention(&info.name));
            }
        }
    }
    StreamRecord::change(store, granted.id(), |record| {
        record.notification = input.notification_configuration.clone();
        record.revision += 1;
        Ok(())
    })
    .await?;
    tracing::info!(stream = %info.name, "the notification configuration of a stream is set");
    Ok(done())
}

/// Refuses at once what every delivery would fail at.
async fn reaches(store: &Store, destination: &Destination) -> Result<(), Error> {
    let wrong = |why: String| Error::invalid(format!("NotificationConfiguration.DestinationConfig.Uri: {why}"));
    let targets = store.targets().await?;
    match destination {
        Destination::Target(name) if targets.iter().any(|t| t.name == *name) => Ok(()),
        Destination::Target(name) => Err(wrong(format!(
            "there is no target {name}: an SNS topic is delivered to the target of the topic's name, which the operator configures"
        ))),
        Destination::Url(text) => {
            let url = targets::checked_url(text).map_err(|e| wrong(e.message))?;
            match targets.iter().any(|t| Url::parse(&t.url).is_ok_and(|target| target == url)) {
                true => Ok(()),
                false => targets::reachable(&url, false).await.map_err(|e| wrong(e.message)),
            }
        }
    }
}
