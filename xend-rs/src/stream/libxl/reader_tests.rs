//! Whole streams, cut short and out of order.

use super::super::{Emulator, EmulatorId, XenstorePair, write};
use super::*;
use crate::stream::fuzz::sample;
use crate::stream::libxc::{self, ImageVersion};

/// Reads everything, the image too.
fn read_all(bytes: &[u8]) -> Result<Vec<Record>, StreamError> {
    let mut reader = Reader::open(Source::new(bytes), Checks::VERIFY)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        if record == Record::LibxcContext {
            let mut image = libxc::Reader::open(reader.image(), Checks::VERIFY)?;
            while image.next_record()?.is_some() {
                image.skip_pages()?;
            }
        }
        records.push(record);
    }
    assert_eq!(reader.into_source().offset(), bytes.len() as u64);
    Ok(records)
}

#[test]
fn a_stream_with_an_image_is_read_to_its_end() {
    let records = read_all(&sample::libxl_hvm_stream()).expect("sound");
    let types: Vec<_> = records.iter().map(Record::record_type).collect();
    let expected = [
        RecordType::LibxcContext,
        RecordType::EmulatorXenstoreData,
        RecordType::EmulatorContext,
        RecordType::End,
    ];
    assert_eq!(types, expected);
    let Record::EmulatorXenstoreData { emulator, pairs } = &records[1] else { panic!() };
    assert_eq!(*emulator, Emulator { id: EmulatorId::QemuUpstream, index: 0 });
    let pair = XenstorePair { key: "physmap/f0000000/size".into(), value: b"800000".into() };
    assert_eq!(pairs[1], pair);
}

#[test]
fn cut_short_anywhere_it_is_truncated_there() {
    let stream = sample::libxl_hvm_stream();
    for end in 0..stream.len() {
        let error = read_all(&stream[..end]).expect_err("a part of a stream");
        assert!(matches!(error.kind, StreamErrorKind::Truncated { .. }), "cut at {end}: {error}");
        assert_eq!(error.offset, end as u64, "{error}");
    }
}

#[test]
fn the_image_has_to_be_read() {
    let stream = sample::libxl_hvm_stream();
    let mut reader = Reader::new(stream.as_slice()).expect("header");
    assert_eq!(reader.next_record().expect("sound"), Some(Record::LibxcContext));
    let error = reader.next_record().expect_err("no image was read");
    assert!(matches!(error.kind, StreamErrorKind::LibxlOutOfOrder(OrderError::ImageUnread)));
}

fn after_header(records: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut stream = Header::default().encode().to_vec();
    records(&mut stream);
    read_all(&stream).expect_err("no sound stream").to_string()
}

#[test]
fn records_out_of_order_are_told_where_they_are() {
    let qemu = Emulator { id: EmulatorId::QemuUpstream, index: 0 };
    let image = sample::pv_image(ImageVersion::V3);
    let lines = [
        after_header(|s| write::end(s).unwrap()),
        after_header(|s| write::emulator_context(s, qemu, b"state").unwrap()),
        after_header(|s| write::checkpoint_end(s).unwrap()),
        after_header(|s| write::checkpoint_state(s, 1).unwrap()),
        after_header(|s| s.extend(0x8000_0000_u64.to_le_bytes())),
        after_header(|s| s.extend([0, 0, 0, 0, 1, 0, 0, 0])),
        after_header(|s| {
            write::libxc_context(s).unwrap();
            s.extend(&image);
            write::libxc_context(s).unwrap();
        }),
    ];
    let expected = [
        "libxl record 0 (END) at byte 16: END before LIBXC_CONTEXT",
        "libxl record 0 (EMULATOR_CONTEXT) at byte 16: EMULATOR_CONTEXT before LIBXC_CONTEXT",
        "libxl record 0 (CHECKPOINT_END) at byte 16: \
         CHECKPOINT_END does not belong into the stream of a migration or a save",
        "libxl record 0 (CHECKPOINT_STATE) at byte 16: \
         CHECKPOINT_STATE does not belong into the stream of a migration or a save",
        "libxl record 0 at byte 16: unknown mandatory record type 0x80000000",
        "libxl record 0 (END) at byte 16: body length is 1, the limit is 0",
        &format!(
            "libxl record 1 (LIBXC_CONTEXT) at byte {}: a second LIBXC_CONTEXT",
            24 + image.len()
        ),
    ];
    assert_eq!(lines.each_ref().map(String::as_str), expected);
}

#[test]
fn checkpoint_records_are_decoded_where_order_does_not_matter() {
    let mut stream = Header { converted_from_legacy: true }.encode().to_vec();
    write::checkpoint_state(&mut stream, 3).unwrap();
    write::checkpoint_end(&mut stream).unwrap();
    let mut reader = Reader::open(Source::new(stream.as_slice()), Checks::DISPLAY).expect("header");
    assert!(reader.header().converted_from_legacy);
    let first = reader.next_record().expect("sound");
    assert_eq!(first, Some(Record::CheckpointState { control_id: 3 }));
    assert_eq!(reader.next_record().expect("sound"), Some(Record::CheckpointEnd));
}

#[test]
fn headers_are_checked() {
    let good = Header::default().encode();
    let damage = [
        (
            0,
            0,
            "libxl header at byte 0: libxl ident is 0x6962786c466d74, expected 0x4c6962786c466d74",
        ),
        (11, 3, "libxl header at byte 8: unsupported libxl stream version 0x3"),
        (15, 1, "libxl header at byte 12: unsupported byte order (big-endian) option 0x1"),
        (15, 4, "libxl header at byte 12: reserved libxl option is not zero"),
    ];
    for (at, value, line) in damage {
        let mut header = good;
        header[at] = value;
        assert_eq!(read_all(&header).expect_err(line).to_string(), line);
    }
}
