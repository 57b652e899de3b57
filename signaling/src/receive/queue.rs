//! Items on their way from the task of the socket to who records them: bounded in bytes and in number, never waited for.

use crate::room::{Held, Room};
use media::Item;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Items of one publisher that wait.
const MOST: usize = 256;
/// What an item takes beside its bytes.
const OVERHEAD: u64 = 64;

/// What a publisher sends, as it comes. It ends with the publisher, and dropping it ends the publisher.
#[derive(Debug)]
pub struct Items {
    receiver: mpsc::Receiver<(Item, Held)>,
}

impl Items {
    /// The next item; `None` once the publisher is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Item> {
        self.receiver.recv().await.map(|(item, _)| item)
    }
}

/// Where items go in.
#[derive(Debug)]
pub(crate) struct Queue {
    sender: mpsc::Sender<(Item, Held)>,
    room: Arc<Room>,
}

/// Why an item was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no room.
    Full,
    /// Nobody takes items any more.
    Closed,
}

/// A queue whose items take room of all pictures.
pub(crate) fn queue(room: Arc<Room>) -> (Queue, Items) {
    let (sender, receiver) = mpsc::channel(MOST);
    (Queue { sender, room }, Items { receiver })
}

impl Queue {
    /// Adds an item.
    pub(crate) fn push(&self, item: Item) -> Result<(), Refused> {
        let bytes = match &item {
            Item::Frame(unit) => unit.data.len() as u64,
            Item::Tracks(tracks) => tracks.iter().map(|t| t.codec_private.len() as u64).sum(),
            Item::Report { .. } | Item::Lost(_) => 0,
        };
        let held = self.room.try_take(bytes + OVERHEAD).ok_or(Refused::Full)?;
        self.sender.try_send((item, held)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Full,
            mpsc::error::TrySendError::Closed(_) => Refused::Closed,
        })
    }

    /// Whether nobody takes items any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_bounded_and_ends_with_either_side() {
        let (queue, mut items) = queue(Room::new(1 << 20));
        for n in 0..MOST as u32 {
            assert_eq!(queue.push(Item::Lost(n)), Ok(()));
        }
        assert_eq!(queue.push(Item::Lost(9)), Err(Refused::Full));
        assert_eq!(items.next().await, Some(Item::Lost(0)));
        assert_eq!(queue.push(Item::Lost(9)), Ok(()));
        drop(items);
        assert_eq!((queue.push(Item::Lost(9)), queue.is_closed()), (Err(Refused::Closed), true));
        let (small, mut items) = super::queue(Room::new(100));
        assert_eq!((small.push(Item::Lost(1)), small.push(Item::Lost(2))), (Ok(()), Err(Refused::Full)));
        drop(small);
        assert_eq!((items.next().await, items.next().await), (Some(Item::Lost(1)), None));
    }
}
