//! What producers are told when their fragment cannot be taken, and what is only remarked.

use media::mkv;
use serde::Serialize;

/// The error ids of PutMedia's acknowledgements (Kinesis Video Streams developer guide, "PutMedia"). What an SDK does on each is
/// why they are told apart: it sends the fragment again, skips it, or stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorId {
    /// Reading the body failed, or its beginning is missing. Sent again.
    StreamReadError,
    /// The fragment has more bytes than allowed. Skipped.
    MaxFragmentSizeReached,
    /// The fragment lasts longer than allowed. Skipped.
    MaxFragmentDurationReached,
    /// The connection lasts longer than allowed. Sent again.
    MaxConnectionDurationReached,
    /// The fragment begins no later than the one before it ended. Skipped.
    FragmentTimecodeLesserThanPrevious,
    /// The header declares more tracks than allowed. The producer stops.
    MoreThanAllowedTracksFound,
    /// The bytes are no Matroska, or Matroska of a kind that is not taken. Skipped.
    InvalidMkvData,
    /// A time that is out of range. The producer stops.
    InvalidProducerTimestamp,
    /// The stream was deleted. The producer stops.
    StreamNotActive,
    /// More or longer tags than allowed. Skipped.
    FragmentMetadataLimitReached,
    /// A block of a track that the header does not declare. The producer stops.
    TrackNumberMismatch,
    /// A declared track has no frame in the fragment. Skipped.
    FramesMissingForTrack,
    /// A tag whose name is reserved. The producer stops.
    InvalidFragmentMetadata,
    /// Something went wrong that is not the producer's fault. Sent again.
    InternalError,
    /// The fragment could not be made durable. Sent again.
    ArchivalError,
}

impl ErrorId {
    /// The number on the wire.
    pub fn id(self) -> u16 {
        use ErrorId::*;
        match self {
            StreamReadError => 4000,
            MaxFragmentSizeReached => 4001,
            MaxFragmentDurationReached => 4002,
            MaxConnectionDurationReached => 4003,
            FragmentTimecodeLesserThanPrevious => 4004,
            MoreThanAllowedTracksFound => 4005,
            InvalidMkvData => 4006,
            InvalidProducerTimestamp => 4007,
            StreamNotActive => 4008,
            FragmentMetadataLimitReached => 4009,
            TrackNumberMismatch => 4010,
            FramesMissingForTrack => 4011,
            InvalidFragmentMetadata => 4012,
            InternalError => 5000,
            ArchivalError => 5001,
        }
    }

    /// The name on the wire.
    pub fn code(self) -> &'static str {
        use ErrorId::*;
        match self {
            StreamReadError => "STREAM_READ_ERROR",
            MaxFragmentSizeReached => "MAX_FRAGMENT_SIZE_REACHED",
            MaxFragmentDurationReached => "MAX_FRAGMENT_DURATION_REACHED",
            MaxConnectionDurationReached => "MAX_CONNECTION_DURATION_REACHED",
            FragmentTimecodeLesserThanPrevious => "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS",
            MoreThanAllowedTracksFound => "MORE_THAN_ALLOWED_TRACKS_FOUND",
            InvalidMkvData => "INVALID_MKV_DATA",
            InvalidProducerTimestamp => "INVALID_PRODUCER_TIMESTAMP",
            StreamNotActive => "STREAM_NOT_ACTIVE",
            FragmentMetadataLimitReached => "FRAGMENT_METADATA_LIMIT_REACHED",
            TrackNumberMismatch => "TRACK_NUMBER_MISMATCH",
            FramesMissingForTrack => "FRAMES_MISSING_FOR_TRACK",
            InvalidFragmentMetadata => "INVALID_FRAGMENT_METADATA",
            InternalError => "INTERNAL_ERROR",
            ArchivalError => "ARCHIVAL_ERROR",
        }
    }
}

/// Why a session ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {reason}")]
pub struct Fault {
    /// What the producer is told.
    pub id: ErrorId,
    /// The Timestamp of the cluster at fault as it was sent, if there is one.
    pub timecode: Option<u64>,
    /// Offset in the body at which it was seen, in bytes.
    pub offset: u64,
    /// Why.
    pub reason: Reason,
}

/// Why, in words that a person can act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The bytes are no Matroska.
    #[error("{0}")]
    Mkv(mkv::Reason),
    /// Only the strict policy refuses this.
    #[error("a second header in one session")]
    SecondHeader,
    /// A cluster beyond the limit.
    #[error("the fragment has more than {limit} bytes")]
    TooManyBytes {
        /// The limit in bytes.
        limit: usize,
    },
    /// A cluster beyond the limit, without a key frame at which it could be split.
    #[error("the fragment lasts {ms} ms, more than {limit}")]
    TooLong {
        /// From the cluster's Timestamp to the frame at fault.
        ms: i64,
        /// The limit.
        limit: u32,
    },
    /// A fragment that overlaps the one before it.
    #[error("track {track}: the fragment begins {behind_ms} ms before the end of the one before it")]
    NotLater {
        /// The track of its first frame.
        track: u8,
        /// 0 if the two frames have the same time.
        behind_ms: i64,
    },
    /// More tracks than allowed.
    #[error("the header declares {tracks} tracks, more than {limit}")]
    TooManyTracks {
        /// How many there are.
        tracks: usize,
        /// The limit.
        limit: usize,
    },
    /// A block of an undeclared track.
    #[error("a block of track {0}, which the header does not declare")]
    UndeclaredTrack(u8),
    /// A track without frames.
    #[error("track {0} has no frame in the fragment")]
    NoFrames(u8),
    /// A cluster whose time cannot be told in ms since the epoch, or lies after the year 9999.
    #[error("the fragment's time is out of range")]
    Time,
    /// More tags than allowed.
    #[error("the fragment has {tags} tags, more than {limit}")]
    TooManyTags {
        /// How many there are.
        tags: usize,
        /// The limit.
        limit: usize,
    },
    /// A tag whose name or value is longer than allowed.
    #[error("a tag whose name or value is too long: {0}")]
    LongTag(String),
    /// A Tags element, or all before one cluster, larger than what is kept.
    #[error("tags of {bytes} bytes, more than {limit}")]
    TagBytes {
        /// How long it is.
        bytes: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// A tag that only the service may set.
    #[error("a tag with a reserved name: {0}")]
    ReservedTag(String),
    /// The connection broke, or the body was no HTTP.
    #[error("the body broke off")]
    BrokeOff,
}

/// Something that another server would refuse, and that is accepted. At most one of a kind for each fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A new header within the session.
    HeaderRestarted,
    /// More tracks than the service allows.
    ManyTracks(usize),
    /// The fragment begins no later than the one before it ended.
    NotLater {
        /// The track of its first frame.
        track: u8,
        /// 0 if the two frames have the same time.
        behind_ms: i64,
    },
    /// The cluster is longer than a fragment may be, and was split before a key frame.
    Split,
    /// A block of a track that the header does not declare.
    UndeclaredTrack(u8),
    /// A declared track has no frame in the fragment.
    NoFrames(u8),
    /// More tags than the service allows.
    ManyTags(usize),
    /// A tag whose name or value is longer than the service allows.
    LongTag(String),
    /// Tags that are not kept, as they are too long altogether: so many bytes.
    TagsDropped(u64),
    /// A tag that the service reserves for itself. Those that a consumer would take for this server's own are not kept.
    ReservedTag(String),
}

impl Mark {
    /// A word for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Mark::HeaderRestarted => "header_restarted",
            Mark::ManyTracks(_) => "many_tracks",
            Mark::NotLater { .. } => "not_later",
            Mark::Split => "split",
            Mark::UndeclaredTrack(_) => "undeclared_track",
            Mark::NoFrames(_) => "no_frames",
            Mark::ManyTags(_) => "many_tags",
            Mark::LongTag(_) => "long_tag",
            Mark::TagsDropped(_) => "tags_dropped",
            Mark::ReservedTag(_) => "reserved_tag",
        }
    }
}
