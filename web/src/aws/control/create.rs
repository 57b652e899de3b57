//! `CreateStream` and `DeleteStream`.

use crate::{
    auth::{
        Caller,
        identity::{Resource, Tags},
    },
    aws::{
        Error, Json, Target, alone, arn,
        json::done,
        quotas::{self, Quotas},
        records::{FOR_EVER_HOURS, StorageConfiguration, StreamRecord, words},
        tags, target,
    },
};
use media::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{
    Store,
    documents::{Document, STREAM},
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Create {
    stream_name: String,
    data_retention_in_hours: Option<u32>,
    device_name: Option<String>,
    media_type: Option<String>,
    kms_key_id: Option<String>,
    tags: Option<Tags>,
    stream_storage_configuration: Option<StorageConfiguration>,
}

#[derive(Serialize)]
pub(crate) struct Created {
    #[serde(rename = "StreamARN")]
    stream_arn: String,
}

/// Makes a stream, which can be used at once. Without a retention it keeps no archive: that is the model's default.
pub(crate) async fn create(caller: Caller, Json(input): Json<Create>) -> Result<Json<Created>, Error> {
    let name = target::name("StreamName", &input.stream_name)?;
    let hours = input.data_retention_in_hours.unwrap_or(0);
    if hours > FOR_EVER_HOURS {
        return Err(Error::constraint(
            "DataRetentionInHours",
            format_args!("Member must be from 0 to {FOR_EVER_HOURS}"),
        ));
    }
    words::if_given("DeviceName", input.device_name.as_ref(), words::device_name)?;
    words::if_given("MediaType", input.media_type.as_ref(), words::media_type)?;
    words::if_given("KmsKeyId", input.kms_key_id.as_ref(), words::kms_key_id)?;
    let given = input.tags.unwrap_or_default();
    tags::check_map("Tags", &given)?;

    let account = &caller.shared.aws.account;
    let arn = account.arn(arn::Resource::Stream, &name, UnixMillis(0)).to_string();
    let app = caller.thing(&Resource { request_tags: given.clone(), ..Resource::new(arn) })?;
    let record = StreamRecord {
        tags: given,
        device_name: input.device_name,
        media_type: input.media_type,
        kms_key_id: input.kms_key_id,
        storage: input.stream_storage_configuration,
        ..StreamRecord::default()
    };
    let _alone = alone(&caller).await;
    few_enough(&app.store, &caller.shared.aws.quotas, record.device_name.as_deref()).await?;
    let stream = app.store.create_stream_with(&name, Some(hours), record.body()?).await?;
    tracing::info!(stream = %name, hours, "stream created");
    Ok(Json(Created { stream_arn: account.stream(&stream.info()).to_string() }))
}

/// Holds one more stream against the quotas.
async fn few_enough(store: &Store, quotas: &Quotas, device: Option<&str>) -> Result<(), Error> {
    if quotas.streams > 0 && store.streams().len() >= quotas.streams as usize {
        let message = format!("there are {} streams already, the most that aws.quotas.streams allows", quotas.streams);
        return Err(Error::new("AccountStreamLimitExceededException", message));
    }
    let (Some(device), 1..) = (device, quotas.streams_per_device) else { return Ok(()) };
    let of_device = |document: &Document| Ok(StreamRecord::of(document)?.device_name.as_deref() == Some(device));
    let there = quotas::counted(store, STREAM, quotas.streams_per_device, of_device).await?;
    if there < quotas.streams_per_device {
        return Ok(());
    }
    let message =
        format!("device {device} has {there} streams already, the most that aws.quotas.streams_per_device allows");
    Err(Error::new("DeviceStreamLimitExceededException", message))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Delete {
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    current_version: Option<String>,
}

/// Deletes a stream with everything recorded in it, if it still is what the caller saw.
pub(crate) async fn delete(caller: Caller, Json(input): Json<Delete>) -> Result<Json<Value>, Error> {
    let granted = Target::by_arn(&input.stream_arn).resolve(&caller).await?;
    let _alone = alone(&caller).await;
    let (store, info) = (&granted.app()?.store, granted.info());
    let record = StreamRecord::read(store, info.id).await?;
    if let Some(given) = &input.current_version {
        record.check_version(&info, given)?;
    }
    if record.mapped_channel.is_some() {
        return Err(Error::in_use(format!(
            "a signaling channel stores in stream {}: DescribeMappedResourceConfiguration says which; disable that first",
            info.name
        )));
    }
    // This one: another may have come under its name while this waited.
    store.delete(&granted.whole()?).await?;
    tracing::info!(stream = %info.name, "stream deleted");
    Ok(done())
}
