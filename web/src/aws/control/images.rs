//! `DescribeImageGenerationConfiguration`, `UpdateImageGenerationConfiguration`: pictures to be made of a stream's fragments.

use crate::{
    auth::Caller,
    aws::{
        Error, Json, Target,
        json::done,
        records::{StreamRecord, images::ImageGenerationConfiguration},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Described {
    #[serde(skip_serializing_if = "Option::is_none")]
    image_generation_configuration: Option<ImageGenerationConfiguration>,
}

pub(crate) async fn describe(caller: Caller, Json(target): Json<Target>) -> Result<Json<Described>, Error> {
    let granted = target.resolve(&caller).await?;
    let record = StreamRecord::read(&granted.app()?.store, granted.id()).await?;
    Ok(Json(Described { image_generation_configuration: record.image_generation }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Update {
    #[serde(flatten)]
    target: Target,
    /// Without one, the stream's is removed.
    image_generation_configuration: Option<ImageGenerationConfiguration>,
}

pub(crate) async fn update(caller: Caller, Json(input): Json<Update>) -> Result<Json<Value>, Error> {
    let granted = input.target.resolve(&caller).await?;
    let info = granted.info();
    if let Some(configuration) = &input.image_generation_configuration {
        configuration.check()?;
        if configuration.is_enabled() && info.retention_hours == Some(0) {
            return Err(Error::no_retention(&info.name));
        }
    }
    StreamRecord::change(&granted.app()?.store, info.id, |record| {
        record.image_generation = input.image_generation_configuration.clone();
        record.revision += 1;
        Ok(())
    })
    .await?;
    Ok(done())
}
