//! Records read as they were written, and only those.
#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

const KINDS: [RecordKind; 5] =
    [RecordKind::Stream, RecordKind::Header, RecordKind::Fragment, RecordKind::Deleted, RecordKind::DeletedRange];

fn any_head() -> impl Strategy<Value = Head> {
    let times = (any::<i64>(), 0..i64::MAX);
    let small = (0u32..1 << 28, any::<u32>(), any::<u32>(), 0..=MAX_PAYLOAD, any::<u32>());
    (1u8..=5, (0u8..=9, any::<u16>()), any::<u64>(), 0..=FragmentNumber::MAX_COUNTER, times, any::<u64>(), small)
        .prop_map(
            |(
                kind,
                (cause, lead_len),
                stream,
                counter,
                (producer, server),
                header,
                (random, duration_ms, frames, payload_len, payload_crc),
            )| Head {
                kind: KINDS[usize::from(kind) - 1],
                lead_len: if kind == 3 { u32::from(lead_len).min(payload_len) as u16 } else { 0 },
                cause: Cause::from_code(cause),
                encrypted: kind == 3 && random & 1 == 1,
                stream,
                counter,
                producer_start: UnixMillis(producer),
                server_start: UnixMillis(server),
                header: HeaderId(header),
                random,
                duration_ms,
                frames,
                payload_len,
                payload_crc,
            },
        )
}

proptest! {
    #[test]
    fn a_head_is_read_as_written(head in any_head()) {
        prop_assert_eq!(Head::decode(&head.encode()), Ok(head));
        if head.kind == RecordKind::Fragment {
            prop_assert_eq!(Head::fragment(head.stream, &head.meta()), head);
        }
        prop_assert_eq!(head.record_len() % ALIGN as u64, 0);
        let stored = head.stored_len();
        prop_assert_eq!(HEAD_LEN as u64 + stored + padding(stored).len() as u64, head.record_len());
    }

    #[test]
    fn one_changed_bit_is_noticed(head in any_head(), bit in 0..HEAD_LEN * 8) {
        let mut bytes = head.encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Head::decode(&bytes).is_err());
    }

    #[test]
    fn a_file_header_is_read_as_written(version in 1..=VERSION, store in any::<u128>(), segment in any::<u64>(), at in any::<i64>(), generation in any::<u32>()) {
        let header = FileHeader { version, store: Uuid::from_u128(store), segment, created_at: UnixMillis(at), generation };
        prop_assert_eq!(FileHeader::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn foreign_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz(&data);
    }
}

#[test]
fn another_version_is_named() {
    let mut bytes = FileHeader::new(Uuid::nil(), 7, UnixMillis(1)).encode();
    bytes[8] = 5;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(FileHeader::decode(&bytes), Err(FormatError::Version(5)));
    assert_eq!(Head::decode(&bytes[..10]), Err(FormatError::Short { have: 10, need: 72 }));
}

#[test]
fn a_deleted_range_is_read_as_written_and_only_a_fragment_has_a_lead() {
    let range = Range { from: UnixMillis(-5), to: UnixMillis(i64::MAX) };
    let head = Head::deleted_range(7, range);
    assert_eq!(Head::decode(&head.encode()).map(|head| head.range()), Ok(range));
    let lead = Head { lead_len: 1, ..Head::stream(7, 1000, b"{}") };
    assert_eq!(Head::decode(&lead.encode()), Err(FormatError::Field("lead length")));
    let lead = Head { kind: RecordKind::Fragment, lead_len: 3, ..lead };
    assert_eq!(Head::decode(&lead.encode()), Err(FormatError::Field("lead length")), "longer than the payload");
}

#[test]
fn a_stream_description_is_read_as_written() {
    let body = StreamBody { name: "gate".parse().unwrap(), retention_hours: Some(24), created_at: UnixMillis(5) };
    assert_eq!(StreamBody::decode(&body.encode()), Ok(body));
}
