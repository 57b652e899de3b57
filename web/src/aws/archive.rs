//! `ListFragments` and `GetMediaForFragmentList` (REFERENCE §3.2, §3.4): what a stream keeps, and chosen fragments of it.

use super::{
    Error, Json, Target,
    epoch::Epoch,
    fragments::{Fault, Form},
    fragments_body::{Next, Source, answer},
};
use crate::{
    auth::{
        Caller,
        access::{Action, Granted},
    },
    routes::{Route, operation},
    serve::Cut,
};
use axum::{
    Extension,
    http::{HeaderName, HeaderValue},
    response::{IntoResponse, Response},
    routing::post,
};
use media::{FragmentMeta, FragmentNumber, UnixMillis};
use serde::{Deserialize, Serialize};
use store::{Cursor, Kind, ListQuery, Stream, TimeBy};
use tracing::warn;

/// Its operations (REFERENCE §1.5).
pub(crate) const ROUTES: &[Route] = &[
    operation("ListFragments", "/listFragments", Action::named("kinesisvideo:ListFragments"), || post(list_fragments)),
    operation(
        "GetMediaForFragmentList",
        "/getMediaForFragmentList",
        Action::named("kinesisvideo:GetMediaForFragmentList"),
        || post(get_media_for_fragment_list),
    ),
];

/// Fragments of a page when the request does not say how many; the cloud does not document its own default.
const PAGE: usize = 100;
/// The most fragments of a page, and of a list.
const MOST: usize = 1000;
/// Says what a request asked for and was not refused for.
const WARNING: HeaderName = HeaderName::from_static("x-vidicon-warning");

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListFragments {
    #[serde(flatten)]
    target: Target,
    max_results: Option<u64>,
    next_token: Option<String>,
    fragment_selector: Option<FragmentSelector>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FragmentSelector {
    fragment_selector_type: SelectorType,
    timestamp_range: TimestampRange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum SelectorType {
    ServerTimestamp,
    ProducerTimestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TimestampRange {
    start_timestamp: Epoch,
    end_timestamp: Epoch,
}

/// Where a listing goes on, as it stands in a token.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    selector: Option<FragmentSelector>,
    after: Cursor,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    fragments: Vec<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    fragment_length_in_milliseconds: u32,
    fragment_number: FragmentNumber,
    fragment_size_in_bytes: u32,
    producer_timestamp: Epoch,
    server_timestamp: Epoch,
}

impl From<FragmentMeta> for Item {
    fn from(meta: FragmentMeta) -> Self {
        Item {
            fragment_length_in_milliseconds: meta.duration_ms,
            fragment_number: meta.number,
            fragment_size_in_bytes: meta.bytes,
            producer_timestamp: Epoch(meta.producer_start),
            server_timestamp: Epoch(meta.server_start),
        }
    }
}

/// The stream, if it keeps what comes in.
async fn archive(target: &Target, caller: &Caller) -> Result<Granted, Error> {
    let granted = target.resolve(caller).await?;
    match granted.info().retention_hours {
        Some(0) => Err(Error::no_retention(&granted.info().name)),
        _ => Ok(granted),
    }
}

/// Lists fragments that begin in a range, oldest first.
async fn list_fragments(caller: Caller, Json(input): Json<ListFragments>) -> Result<Response, Error> {
    let granted = archive(&input.target, &caller).await?;
    let limit = limit(input.max_results)?;
    let listing = listing(granted.id());
    let (mut selector, mut after) = (input.fragment_selector, None);
    if let Some(token) = &input.next_token {
        let place: Place = caller.shared.aws.pages.open(&listing, token)?;
        if selector.is_some() && selector != place.selector {
            return Err(Error::invalid("NextToken: this token was given out for another FragmentSelector"));
        }
        (selector, after) = (place.selector, Some(place.after));
    }
    let range = selector.map(|selector| range(selector.timestamp_range)).transpose()?;
    let late = range.and_then(|range| outside(&granted, range, caller.now()));
    if let Some(late) = late.as_ref().filter(|_| caller.shared.aws.refuse_expired) {
        return Err(Error::invalid(late.clone()));
    }
    let by = match selector.map(|s| s.fragment_selector_type) {
        Some(SelectorType::ProducerTimestamp) => TimeBy::Producer,
        _ => TimeBy::Server,
    };
    let stream = granted.whole()?;
    let found = stream.list(ListQuery { by, range, after, limit }).await?;
    let mut next_token = None;
    if let Some(last) = found.last().filter(|_| found.len() == limit) {
        let after = Cursor::after(by, last);
        let next = stream.list(ListQuery { by, range, after: Some(after), limit: 1 }).await?;
        next_token = (!next.is_empty()).then(|| caller.shared.aws.pages.seal(&listing, &Place { selector, after }));
    }
    let listed = Listed { fragments: found.into_iter().map(Into::into).collect(), next_token };
    let mut response = Json(listed).into_response();
    if let Some(value) = late.and_then(|late| HeaderValue::from_str(&late).ok()) {
        response.headers_mut().insert(WARNING, value);
    }
    Ok(response)
}

/// What a token is for: bound to the stream, not to its name.
fn listing(stream: u64) -> String {
    format!("ListFragments {stream}")
}

fn limit(asked: Option<u64>) -> Result<usize, Error> {
    match asked {
        None => Ok(PAGE),
        Some(0) => Err(Error::constraint("MaxResults", "Member must have value greater than or equal to 1")),
        Some(n) if n > MOST as u64 => {
            Err(Error::constraint("MaxResults", format_args!("Member must have value less than or equal to {MOST}")))
        }
        Some(n) => Ok(n as usize),
    }
}

/// Both ends belong to it.
fn range(asked: TimestampRange) -> Result<(UnixMillis, UnixMillis), Error> {
    let (from, to) = (asked.start_timestamp.0, asked.end_timestamp.0);
    match from <= to {
        true => Ok((from, to)),
        false => Err(Error::invalid("StartTimestamp must not be later than EndTimestamp")),
    }
}

/// What to say of a range that ends before what is kept begins, in the cloud's words.
fn outside(granted: &Granted, (_, to): (UnixMillis, UnixMillis), now: UnixMillis) -> Option<String> {
    let hours = granted.info().retention_hours?;
    let kept_from = now.plus(-i64::from(hours) * 3_600_000);
    (to < kept_from).then(|| format!("End timestamp {} is outside of the stream retention period.", to.0))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetMediaForFragmentList {
    #[serde(flatten)]
    target: Target,
    fragments: Vec<String>,
}

/// Sends these fragments in this order.
async fn get_media_for_fragment_list(
    caller: Caller,
    Extension(cut): Extension<Cut>,
    Json(input): Json<GetMediaForFragmentList>,
) -> Result<Response, Error> {
    let granted = archive(&input.target, &caller).await?;
    let numbers = numbers(&input.fragments)?;
    let stream = granted.whole()?;
    let source = List { stream: stream.clone(), numbers: numbers.into_iter() };
    Ok(answer(&caller, stream, Form::FragmentList, source, cut))
}

/// The numbers of a request; `None` for what is digits and can be no number of a fragment.
fn numbers(texts: &[String]) -> Result<Vec<Option<FragmentNumber>>, Error> {
    if !(1..=MOST).contains(&texts.len()) {
        return Err(Error::constraint("Fragments", format_args!("Member must have length between 1 and {MOST}")));
    }
    let read = |(at, text): (usize, &String)| {
        let is_number = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        match is_number {
            true => Ok(text.parse().ok()),
            false => {
                Err(Error::constraint(&format!("Fragments[{at}]"), "Member must be a fragment number: 1 to 128 digits"))
            }
        }
    };
    texts.iter().enumerate().map(read).collect()
}

/// Fragments by their numbers.
struct List {
    stream: Stream,
    numbers: std::vec::IntoIter<Option<FragmentNumber>>,
}

impl Source for List {
    async fn next(&mut self) -> Next {
        let Some(number) = self.numbers.as_slice().first().copied() else { return Next::End };
        let Some(number) = number else { return Next::Failed(Fault::not_found(None)) };
        match self.stream.fragment_meta(number).await {
            Ok(meta) => {
                self.numbers.next();
                Next::Fragment(meta)
            }
            Err(error) if error.kind() == Kind::NotFound => Next::Failed(Fault::not_found(Some(number))),
            Err(error) => {
                warn!(stream = %self.stream.info().name, %number, %error, "a fragment could not be looked up");
                Next::Failed(Fault::internal(Some(number)))
            }
        }
    }
    fn goes_on_without(&self) -> bool {
        false
    }
}

/// The fuzz target: bytes that may be a body of one of these operations, or a token of a listing. None is a token that was not
/// made here, and what is made here comes back, for its own stream alone.
pub(super) fn fuzz(data: &[u8]) {
    use super::{json::read, paging::Pages};
    if let Ok(input) = read::<ListFragments>(data) {
        assert!(limit(input.max_results).is_ok_and(|n| (1..=MOST).contains(&n)) || input.max_results.is_some());
        let range = input.fragment_selector.and_then(|selector| range(selector.timestamp_range).ok());
        assert!(range.is_none_or(|(from, to)| from <= to && from.0 >= 0));
    }
    if let Ok(input) = read::<GetMediaForFragmentList>(data)
        && let Ok(numbers) = numbers(&input.fragments)
    {
        assert_eq!(numbers.len(), input.fragments.len());
    }
    let pages = Pages::new(&[7; 32]);
    assert!(pages.open::<Place>(&listing(1), &String::from_utf8_lossy(data)).is_err());
    let mut words = data.chunks(8).map(|chunk| chunk.iter().fold(0, |word, b| word << 8 | u64::from(*b)));
    let mut word = || words.next().unwrap_or_default();
    let at = UnixMillis(word() as i64);
    let after = Cursor { at, number: FragmentNumber::new(word() & FragmentNumber::MAX_COUNTER, word(), word() as u32) };
    let token = pages.seal(&listing(1), &Place { selector: None, after });
    assert_eq!(pages.open::<Place>(&listing(1), &token).ok(), Some(Place { selector: None, after }));
    assert!(pages.open::<Place>(&listing(2), &token).is_err());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::aws::json::read;

    fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
        let error = result.unwrap_err();
        assert_eq!((error.name, error.status.as_u16()), ("InvalidArgumentException", 400));
        error.message
    }

    #[test]
    fn members_are_checked_by_name() {
        assert_eq!((limit(None).unwrap(), limit(Some(1000)).unwrap()), (100, 1000));
        for wrong in [0, 1001, u64::MAX] {
            assert!(refused(limit(Some(wrong))).contains("'MaxResults'"));
        }
        let of = |body: &str| read::<ListFragments>(body.as_bytes());
        let whole = r#"{"StreamName":"a","FragmentSelector":{"FragmentSelectorType":"SERVER_TIMESTAMP",
            "TimestampRange":{"StartTimestamp":1.5,"EndTimestamp":1.5}}}"#;
        let selector = of(whole).unwrap().fragment_selector.unwrap();
        assert_eq!(range(selector.timestamp_range).unwrap(), (UnixMillis(1500), UnixMillis(1500)));
        let wrong = whole.replace("SERVER_TIMESTAMP", "NOW");
        assert!(refused(of(&wrong)).contains("'FragmentSelector.FragmentSelectorType'"));
        let wrong = whole.replace(r#","EndTimestamp":1.5"#, "");
        assert!(refused(of(&wrong)).contains("'FragmentSelector.TimestampRange.EndTimestamp'"));
        let backwards = whole.replace(r#""EndTimestamp":1.5"#, r#""EndTimestamp":1"#);
        let selector = of(&backwards).unwrap().fragment_selector.unwrap();
        assert!(refused(range(selector.timestamp_range)).contains("StartTimestamp"));
    }

    #[test]
    fn a_list_has_1_to_1000_numbers() {
        let texts = |text: &str, n| vec![text.to_owned(); n];
        assert!(refused(numbers(&[])).contains("'Fragments'"));
        assert!(refused(numbers(&texts("1", 1001))).contains("'Fragments'"));
        assert_eq!(numbers(&texts("1", 1000)).unwrap(), vec![None; 1000]);
        let real = FragmentNumber::new(1, 2, 3);
        assert_eq!(numbers(&texts(&real.to_string(), 1)).unwrap(), [Some(real)]);
        for wrong in ["", "x", "-1", "1 ", &"1".repeat(129)] {
            assert!(refused(numbers(&["1".to_owned(), wrong.to_owned()])).contains("'Fragments[1]'"), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_body_or_token_holds_is_read_or_refused(data: Vec<u8>, text in r#"[{}"a-zA-Z0-9:,.+/=\[\]-]{0,200}"#) {
            fuzz(&data);
            fuzz(text.as_bytes());
        }
    }
}
