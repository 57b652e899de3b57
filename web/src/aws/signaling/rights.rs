//! Whether those who are connected still may be: keys and sessions end, policies change, channels are deleted.

use super::board::{Channel, Client};
use crate::{auth::identity::Resource, aws::channels::ChannelRecord, state::Shared};
use signaling::channel::{Close, SocketId};
use std::{sync::Arc, time::Duration};
use store::documents::CHANNEL;

/// Looks at everyone once, and closes whoever may not stay.
pub(super) async fn look(shared: &Shared) {
    let clients = shared.signaling.clients();
    for of_channel in clients.chunk_by(|(_, a), (_, b)| a.channel == b.channel) {
        let channel = &of_channel[0].1.channel;
        let document = match shared.signaling.store.document(CHANNEL, channel.name.as_str()).await {
            Ok(document) => document,
            Err(error) => {
                // Looked at again soon: nobody is closed because a disk is slow.
                tracing::warn!(channel = %channel.name, %error, "whether the clients of a channel may stay cannot be read");
                continue;
            }
        };
        let record = document.and_then(|document| ChannelRecord::of(&document).ok());
        match record.filter(|record| record.created_at == channel.created_at) {
            Some(record) => look_at(shared, channel, record, of_channel).await,
            None => {
                tracing::info!(channel = %channel.name, "the clients of a channel that was deleted are closed");
                shared.signaling.deleted(channel);
            }
        }
    }
}

async fn look_at(shared: &Shared, channel: &Channel, record: ChannelRecord, clients: &[(SocketId, Arc<Client>)]) {
    shared.signaling.ttl(channel, Duration::from_secs(record.message_ttl_seconds.into()));
    let arn = record.arn(&shared.aws.account, &channel.name).to_string();
    let resource = Resource { tags: record.tags, ..Resource::new(arn) };
    for (id, client) in clients {
        if !client.caller.still_may(&resource, shared.door.now()).await {
            tracing::info!(channel = %channel.name, "the credentials of a client have ended, or do not allow it to stay");
            shared.signaling.close(*id, Close::NotAllowed);
        }
    }
}
