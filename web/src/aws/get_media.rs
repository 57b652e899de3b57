//! `GetMedia` (REFERENCE §3.1): a stream's fragments from a chosen one on, and then as they come, for as long as the stream
//! lives and the client reads.

use super::{
    Error, Json, Target,
    epoch::Epoch,
    fragments::{Fault, Form},
    fragments_body::{Next, Source, answer},
};
use crate::{
    auth::{Caller, access::Action},
    routes::{Route, operation},
    serve::Cut,
    state::Shared,
};
use axum::{Extension, response::Response, routing::post};
use media::{FragmentMeta, FragmentNumber, HeaderId};
use serde::Deserialize;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use store::{Kind, Start, Stream};
use tracing::warn;

/// Its operation (REFERENCE §1.4).
pub(crate) const ROUTES: &[Route] =
    &[operation("GetMedia", "/getMedia", Action::named("kinesisvideo:GetMedia"), || post(get_media))];

/// Fragments looked up at once.
const PAGE: usize = 100;
/// Between two looks when the first was in vain.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetMedia {
    #[serde(flatten)]
    target: Target,
    start_selector: StartSelector,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StartSelector {
    start_selector_type: StartSelectorType,
    after_fragment_number: Option<String>,
    start_timestamp: Option<Epoch>,
    continuation_token: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum StartSelectorType {
    FragmentNumber,
    ServerTimestamp,
    ProducerTimestamp,
    Now,
    Earliest,
    ContinuationToken,
}

/// Where an answer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    At(Start),
    /// The request names no fragment that ever was: the answer says so in its tags.
    Nowhere,
}

impl StartSelector {
    /// What the members say, before the stream is looked at.
    fn read(&self) -> Result<Begin, Error> {
        let needed = |member: &str| {
            Error::constraint(&format!("StartSelector.{member}"), "Member must not be null for this StartSelectorType")
        };
        let number = |member: &str, text: &str| {
            if !(1..=128).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_digit()) {
                return Err(Error::constraint(
                    &format!("StartSelector.{member}"),
                    "Member must be a fragment number: 1 to 128 digits",
                ));
            }
            Ok(text.parse().map_or(Begin::Nowhere, |number| Begin::At(Start::After(number))))
        };
        let at = || self.start_timestamp.map(|at| at.0).ok_or_else(|| needed("StartTimestamp"));
        match self.start_selector_type {
            StartSelectorType::Now => Ok(Begin::At(Start::Newest)),
            StartSelectorType::Earliest => Ok(Begin::At(Start::Earliest)),
            StartSelectorType::ServerTimestamp => Ok(Begin::At(Start::ContainingServer(at()?))),
            StartSelectorType::ProducerTimestamp => Ok(Begin::At(Start::ContainingProducer(at()?))),
            StartSelectorType::FragmentNumber => {
                let text = self.after_fragment_number.as_deref();
                number("AfterFragmentNumber", text.ok_or_else(|| needed("AfterFragmentNumber"))?)
            }
            StartSelectorType::ContinuationToken => {
                let text = self.continuation_token.as_deref();
                number("ContinuationToken", text.ok_or_else(|| needed("ContinuationToken"))?)
            }
        }
    }
}

/// Sends a stream's media.
async fn get_media(
    caller: Caller,
    Extension(cut): Extension<Cut>,
    Json(input): Json<GetMedia>,
) -> Result<Response, Error> {
    let stream = input.target.resolve(&caller).await?.whole()?;
    let mut begin = input.start_selector.read()?;
    if let Begin::At(Start::After(number)) = begin {
        let is_token = input.start_selector.start_selector_type == StartSelectorType::ContinuationToken;
        if !is_known(&stream, number, is_token).await? {
            begin = Begin::Nowhere;
        }
    }
    let newest = match begin {
        // Now is when it was asked: what comes from then on is not skipped, however much of it becomes durable at once.
        Begin::At(Start::Newest) => stream.first(Start::Newest).await?,
        _ => None,
    };
    let source = Live {
        shared: caller.shared.clone(),
        stream: stream.clone(),
        place: match begin {
            Begin::At(Start::After(number)) => Place::After(number),
            Begin::At(Start::Newest) => Place::Looking(Start::Earliest),
            Begin::At(start) => Place::Looking(start),
            Begin::Nowhere => Place::Nowhere,
        },
        seen: None,
        ready: newest.into_iter().collect(),
        header: None,
        begun: false,
    };
    Ok(answer(&caller, stream, Form::GetMedia, source, cut))
}

/// Whether there is such a fragment. One that a token names may have expired since: what follows it is asked for.
async fn is_known(stream: &Stream, number: FragmentNumber, is_token: bool) -> Result<bool, Error> {
    match stream.fragment_meta(number).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() != Kind::NotFound => Err(error.into()),
        Err(_) if !is_token => Ok(false),
        Err(_) => {
            // Not one of an earlier stream of this name, whose numbers may be ahead of this one's.
            let created_at = u64::try_from(stream.info().created_at.0).unwrap_or(0);
            let newest = stream.first(Start::Newest).await?;
            Ok(number.server_ms() >= created_at && newest.is_none_or(|newest| number < newest.number))
        }
    }
}

enum Place {
    /// Waiting for a fragment that the selector fits.
    Looking(Start),
    /// Going on behind this one.
    After(FragmentNumber),
    Nowhere,
}

/// The fragments of a stream in the order of their numbers, without an end.
struct Live {
    shared: Arc<Shared>,
    stream: Stream,
    place: Place,
    /// What was the newest when it was last looked, or what was sent by then: what is newer is worth another look.
    seen: Option<FragmentNumber>,
    ready: VecDeque<FragmentMeta>,
    /// The header of the fragment that was given last.
    header: Option<HeaderId>,
    /// Whether the beginning of the fragment to come was told.
    begun: bool,
}

impl Source for Live {
    async fn next(&mut self) -> Next {
        let mut in_vain = false;
        loop {
            if let Some(meta) = self.ready.pop_front() {
                self.place = Place::After(meta.number);
                (self.header, self.begun) = (Some(meta.header), false);
                return Next::Fragment(meta);
            }
            match self.look().await {
                Ok(false) => {}
                Ok(true) => continue,
                Err(next) => return next,
            }
            if std::mem::replace(&mut in_vain, true) {
                // What woke this was deleted since, or does not fit the selector.
                tokio::time::sleep(PAUSE).await;
            }
            if let Err(next) = self.wait().await {
                return next;
            }
        }
    }
    fn goes_on_without(&self) -> bool {
        true
    }
}

impl Live {
    /// Looks for what is next; gives whether there is something.
    async fn look(&mut self) -> Result<bool, Next> {
        let found = match self.place {
            Place::Nowhere => return Err(Next::Failed(Fault::not_found(None))),
            Place::Looking(start) => self.first(start).await,
            Place::After(number) => {
                self.seen = Some(number);
                self.stream.next_after(number, PAGE).await.map(VecDeque::from)
            }
        };
        self.ready = found.map_err(|error| self.ended_by(&error))?;
        Ok(!self.ready.is_empty())
    }

    async fn first(&mut self, start: Start) -> Result<VecDeque<FragmentMeta>, store::Error> {
        // Before the look: what becomes durable meanwhile is not slept through.
        let newest = self.stream.first(Start::Newest).await?;
        self.seen = newest.as_ref().map(|meta| meta.number);
        Ok(self.stream.first(start).await?.into_iter().collect())
    }

    /// All that there is was sent: waits for what is worth another look, or for something to say at once.
    async fn wait(&mut self) -> Result<(), Next> {
        let after = self.seen;
        let mut begun = self.stream.begun();
        // Only under the header that is known: another session's fragment may come first, and its documents differ.
        let (told, header) = (self.begun, self.header);
        let next_begins = begun.wait_for(|begun| {
            let next = begun.as_ref().filter(|live| !told && Some(live.number) > after);
            next.is_some_and(|live| Some(live.header.id) == header)
        });
        tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => Err(Next::End),
            newer = self.stream.wait_newer(after) => newer.map_err(|error| self.ended_by(&error)),
            live = next_begins => match live.ok().and_then(|live| live.clone()) {
                Some(live) => {
                    self.begun = true;
                    Err(Next::Begun(live.header.clone()))
                }
                None => Err(Next::End),
            }
        }
    }

    /// What an error of the store means for the answer.
    fn ended_by(&self, error: &store::Error) -> Next {
        match error.kind() {
            // The stream was deleted, or the server stops: no fragment will come.
            Kind::NotFound | Kind::Unavailable => Next::End,
            _ => {
                warn!(stream = %self.stream.info().name, %error, "fragments could not be looked up");
                Next::Failed(Fault::internal(None))
            }
        }
    }
}

/// The fuzz target: bytes that may be a body, or the number in one. A number starts behind itself; other digits start nowhere.
pub(super) fn fuzz(data: &[u8]) {
    if let Ok(input) = super::json::read::<GetMedia>(data) {
        let _ = input.start_selector.read();
    }
    let text = String::from_utf8_lossy(data).into_owned();
    let of = |text: &str| {
        let selector = StartSelector {
            start_selector_type: StartSelectorType::ContinuationToken,
            after_fragment_number: None,
            start_timestamp: None,
            continuation_token: Some(text.to_owned()),
        };
        selector.read()
    };
    let is_digits = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    assert_eq!(of(&text).is_ok(), is_digits);
    if let Ok(Begin::At(Start::After(number))) = of(&text) {
        assert_eq!(number.to_string(), text);
    }
    let mut words = data.chunks(8).map(|chunk| chunk.iter().fold(0, |word, b| word << 8 | u64::from(*b)));
    let mut word = || words.next().unwrap_or_default();
    let number = FragmentNumber::new(word() & FragmentNumber::MAX_COUNTER, word(), word() as u32);
    assert_eq!(of(&number.to_string()).ok(), Some(Begin::At(Start::After(number))));
}

#[cfg(test)]
mod tests {
    proptest::proptest! {
        #[test]
        fn a_token_is_a_number_or_refused(data: Vec<u8>, digits in "[0-9]{0,130}", number in "1[0-9]{46}") {
            super::fuzz(&data);
            super::fuzz(digits.as_bytes());
            super::fuzz(number.as_bytes());
        }
    }
}
