//! `UpdateStream`, `UpdateDataRetention`, `DescribeStreamStorageConfiguration`, `UpdateStreamStorageConfiguration`: changes
//! that name the version they were made from.

use crate::{
    auth::Caller,
    aws::{
        Error, Json, Target, alone,
        json::done,
        records::{FOR_EVER_HOURS, StorageConfiguration, StreamRecord, words},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Update {
    #[serde(flatten)]
    target: Target,
    current_version: String,
    device_name: Option<String>,
    media_type: Option<String>,
}

pub(crate) async fn stream(caller: Caller, Json(input): Json<Update>) -> Result<Json<Value>, Error> {
    words::if_given("DeviceName", input.device_name.as_ref(), words::device_name)?;
    words::if_given("MediaType", input.media_type.as_ref(), words::media_type)?;
    let granted = input.target.resolve(&caller).await?;
    let _alone = alone(&caller).await;
    let info = granted.info();
    StreamRecord::change(&granted.app()?.store, info.id, |record| {
        record.check_version(&info, &input.current_version)?;
        record.device_name = input.device_name.clone().or(record.device_name.take());
        record.media_type = input.media_type.clone().or(record.media_type.take());
        record.revision += 1;
        Ok(())
    })
    .await?;
    Ok(done())
}

#[derive(Clone, Copy, Deserialize)]
enum Operation {
    #[serde(rename = "INCREASE_DATA_RETENTION")]
    Increase,
    #[serde(rename = "DECREASE_DATA_RETENTION")]
    Decrease,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateRetention {
    #[serde(flatten)]
    target: Target,
    current_version: String,
    operation: Operation,
    data_retention_change_in_hours: u32,
}

/// The retention after a change; a stream that keeps for ever counts as one that keeps the model's most.
fn changed(hours: Option<u32>, operation: Operation, change: u32) -> Result<u32, Error> {
    const MEMBER: &str = "DataRetentionChangeInHours";
    if change == 0 {
        return Err(Error::constraint(MEMBER, "Member must be at least 1"));
    }
    let now = hours.unwrap_or(FOR_EVER_HOURS);
    let then = match operation {
        Operation::Increase => now.checked_add(change).filter(|then| *then <= FOR_EVER_HOURS),
        Operation::Decrease => now.checked_sub(change),
    };
    then.ok_or_else(|| {
        let rule = format!("Member must leave from 0 to {FOR_EVER_HOURS} hours: the stream keeps {now} now");
        Error::constraint(MEMBER, rule)
    })
}

/// Changes how long a stream keeps its media. Less takes away at once what is older.
pub(crate) async fn retention(caller: Caller, Json(input): Json<UpdateRetention>) -> Result<Json<Value>, Error> {
    let granted = input.target.resolve(&caller).await?;
    let _alone = alone(&caller).await;
    let (store, info) = (&granted.app()?.store, granted.info());
    // The version goes first: whoever saw the old one is refused from here on, also if the server ends before the retention
    // is set.
    let hours = StreamRecord::change(store, info.id, |record| {
        record.check_version(&info, &input.current_version)?;
        record.revision += 1;
        changed(info.retention_hours, input.operation, input.data_retention_change_in_hours)
    })
    .await?;
    store.set_retention(&info.name, Some(hours)).await?;
    Ok(done())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Storage {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_storage_configuration: StorageConfiguration,
}

pub(crate) async fn describe_storage(caller: Caller, Json(target): Json<Target>) -> Result<Json<Storage>, Error> {
    let granted = target.resolve(&caller).await?;
    let info = granted.info();
    let record = StreamRecord::read(&granted.app()?.store, info.id).await?;
    Ok(Json(Storage {
        stream_name: info.name.to_string(),
        stream_arn: caller.shared.aws.account.stream(&info).to_string(),
        stream_storage_configuration: record.storage.unwrap_or_default(),
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateStorage {
    #[serde(flatten)]
    target: Target,
    current_version: String,
    stream_storage_configuration: StorageConfiguration,
}

pub(crate) async fn storage(caller: Caller, Json(input): Json<UpdateStorage>) -> Result<Json<Value>, Error> {
    let granted = input.target.resolve(&caller).await?;
    let _alone = alone(&caller).await;
    let info = granted.info();
    StreamRecord::change(&granted.app()?.store, info.id, |record| {
        record.check_version(&info, &input.current_version)?;
        record.storage = Some(input.stream_storage_configuration);
        record.revision += 1;
        Ok(())
    })
    .await?;
    Ok(done())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn retention_stays_within_ten_years() {
        use Operation::{Decrease, Increase};
        assert_eq!(changed(Some(24), Increase, 48), Ok(72));
        assert_eq!(changed(Some(24), Decrease, 24), Ok(0));
        assert_eq!(changed(Some(0), Increase, FOR_EVER_HOURS), Ok(FOR_EVER_HOURS));
        assert_eq!(changed(None, Decrease, 1), Ok(FOR_EVER_HOURS - 1));
        for (hours, operation, change) in [
            (Some(24), Decrease, 25),
            (Some(24), Increase, u32::MAX),
            (Some(1), Increase, 87_600),
            (None, Increase, 1),
            (Some(1), Increase, 0),
        ] {
            let message = changed(hours, operation, change).unwrap_err().message;
            assert!(message.contains("'DataRetentionChangeInHours'"), "{message}");
        }
    }
}
