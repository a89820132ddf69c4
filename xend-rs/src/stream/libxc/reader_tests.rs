//! Whole images, cut short and damaged.

use super::*;
use crate::stream::fuzz::sample;
use crate::stream::libxc::header::ImageVersion;
use crate::stream::libxc::{OrderError, PageType};

/// Reads everything; page contents into memory, as a restore does. The bytes of a page must be
/// the low byte of its pfn.
fn read_all(mut bytes: &[u8]) -> Result<Vec<Record>, StreamError> {
    read_with(Reader::open(Source::new(&mut bytes), Checks::VERIFY)?)
}

fn read_with<R: Read>(mut reader: Reader<R>) -> Result<Vec<Record>, StreamError> {
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        if let Record::PageData(head) = &record {
            for entry in head.entries.iter().filter(|e| e.page_type.has_data()) {
                let mut page = [0; PAGE_BYTES];
                reader.page_bytes(&mut page)?;
                assert!(page.iter().all(|b| *b == entry.pfn.0 as u8), "{entry:?}");
            }
        }
        records.push(record);
    }
    Ok(records)
}

fn samples() -> [Vec<u8>; 5] {
    [
        sample::pv_image(ImageVersion::V2),
        sample::pv_image(ImageVersion::V3),
        sample::hvm_image(ImageVersion::V2),
        sample::hvm_image(ImageVersion::V3),
        sample::xend_image(),
    ]
}

#[test]
fn sound_images_are_read_to_their_end_and_not_beyond() {
    for mut image in samples() {
        let length = image.len();
        image.extend(b"next");
        let mut rest = image.as_slice();
        let mut reader = Reader::open(Source::new(&mut rest), Checks::VERIFY).expect("headers");
        let mut count = 0;
        while let Some(record) = reader.next_record().expect("a sound image") {
            count += 1;
            if matches!(record, Record::PageData(_)) {
                reader.skip_pages().expect("pages");
            }
        }
        assert!(count >= 8, "{count} records");
        assert_eq!(reader.offset(), length as u64);
        assert_eq!(reader.next_record().expect("nothing after END"), None);
        assert_eq!(rest, b"next");
    }
}

#[test]
fn cut_short_anywhere_an_image_is_truncated_there() {
    for image in samples() {
        for end in 0..image.len() {
            let error = read_all(&image[..end]).expect_err("a part of an image");
            assert!(
                matches!(error.kind, StreamErrorKind::Truncated { .. }),
                "cut at {end}: {error}"
            );
            assert_eq!(error.offset, end as u64, "{error}");
            assert!(!error.to_string().contains('\n'));
        }
    }
}

/// Byte by byte, as a slow pipe may deliver.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = out.len().min(1);
        self.0.read(&mut out[..n])
    }
}

#[test]
fn short_reads_change_nothing() {
    for image in samples() {
        let whole = read_all(&image).expect("sound");
        let trickled = read_with(Reader::new(Trickle(&image)).expect("headers")).expect("sound");
        assert_eq!(whole, trickled);
    }
}

#[test]
fn pages_can_be_taken_by_the_callers_own_read() {
    let image = sample::hvm_image(ImageVersion::V3);
    let mut reader = Reader::new(image.as_slice()).expect("headers");
    let mut taken = Vec::new();
    while let Some(record) = reader.next_record().expect("sound") {
        if !matches!(record, Record::PageData(_)) {
            continue;
        }
        let all = reader.page_bytes_left();
        reader
            .page_bytes_by(all, |inner, left| {
                let mut part = vec![0; (left as usize).min(1000)];
                let n = inner.read(&mut part)?;
                taken.extend_from_slice(&part[..n]);
                Ok(n)
            })
            .expect("pages");
    }
    assert_eq!(reader.offset(), image.len() as u64);
    let (first, rest) = taken.split_at(PAGE_BYTES);
    assert!(first.iter().all(|b| *b == 0));
    assert!(rest[..PAGE_BYTES].iter().all(|b| *b == 0xff));
    assert_eq!(taken.len(), 3 * PAGE_BYTES);
}

#[test]
fn forgotten_pages_are_an_error_and_so_are_too_many() {
    let image = sample::hvm_image(ImageVersion::V3);
    let mut reader = Reader::new(image.as_slice()).expect("headers");
    while !matches!(reader.next_record().expect("sound"), Some(Record::PageData(_))) {}
    let error = reader.next_record().expect_err("two pages unread");
    assert!(matches!(error.kind, StreamErrorKind::PagesUnread { left_bytes: 8192 }), "{error}");
    let error = reader.page_bytes(&mut [0; 3 * PAGE_BYTES]).expect_err("three of two pages");
    assert!(matches!(error.kind, StreamErrorKind::PagesExhausted { .. }), "{error}");
    reader.skip_pages().expect("pages");
    assert_eq!(reader.next_record().expect("sound"), Some(Record::Verify));
}

/// The first record of an HVM image, with any content.
fn first_record(number: u32, body_bytes: u32, body: &[u8]) -> Result<Vec<Record>, StreamError> {
    let mut image = sample::hvm_image(ImageVersion::V2)[..40].to_vec();
    image.extend(number.to_le_bytes());
    image.extend(body_bytes.to_le_bytes());
    image.extend(body);
    read_all(&image)
}

#[test]
fn unknown_records_are_skipped_only_if_optional() {
    let error = first_record(0x13, 0, &[]).expect_err("mandatory");
    assert!(matches!(error.kind, StreamErrorKind::UnknownMandatory(0x13)));
    assert_eq!(error.to_string(), "libxc record 0 at byte 40: unknown mandatory record type 0x13");
    let long = vec![0; MAX_OPTIONAL_BYTES as usize + 8];
    let error = first_record(0x8000_0000, long.len() as u32, &long).expect_err("no END");
    assert_eq!(error.offset, 48 + long.len() as u64, "the long body was skipped: {error}");
}

#[test]
fn a_declared_length_is_not_believed_before_it_arrives() {
    for (number, body_bytes) in [(0x01, 128 << 20), (0x09, 16 << 20), (0x8000_0000, 128 << 20)] {
        let error = first_record(number, body_bytes, &[1, 0, 0]).expect_err("three bytes");
        let kind = &error.kind;
        let early =
            matches!(kind, StreamErrorKind::Truncated { .. } | StreamErrorKind::OutOfOrder(_));
        assert!(early, "{error}");
    }
    let error = first_record(0x09, (16 << 20) + 1, &[]).expect_err("over the limit");
    assert!(matches!(
        error.kind,
        StreamErrorKind::OutOfOrder(_) | StreamErrorKind::TooLarge { .. }
    ));
}

fn page_data(count: u32, reserved: u32, words: &[u64], pages: usize) -> StreamError {
    let mut body = count.to_le_bytes().to_vec();
    body.extend(reserved.to_le_bytes());
    body.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    body.resize(body.len() + pages * PAGE_BYTES, 3);
    first_record(1, body.len() as u32, &body).expect_err("a bad record, or no END")
}

#[test]
fn heads_of_page_data_are_checked() {
    let sound = page_data(2, 0, &[3, 0xf000_0000_0000_0004], 1);
    assert!(matches!(sound.kind, StreamErrorKind::Truncated { .. }), "{sound}");
    let kinds = [
        page_data(0, 0, &[], 0),
        page_data(0, 0, &[1], 0),
        page_data(1, 1, &[1], 1),
        page_data(2, 0, &[1], 0),
        page_data(1, 0, &[1], 2),
        page_data(1, 0, &[0xf000_0000_0000_0004], 1),
        page_data(1, 0, &[1 << 52], 1),
        page_data(1, 0, &[0x5000_0000_0000_0001], 1),
        page_data(40_000, 0, &[], 0),
    ];
    let names = kinds.each_ref().map(|e| format!("{:?}", e.kind));
    let expected = [
        "BadField",
        "BadField",
        "NonZeroFill",
        "BadLength",
        "BadLength",
        "BadLength",
        "BadPfn",
        "BadPageType",
        "TooLarge",
    ];
    for (name, expected) in names.iter().zip(expected) {
        assert!(name.starts_with(expected), "{name}, not {expected}");
    }
    assert_eq!(
        kinds[7].to_string(),
        "libxc record 0 (PAGE_DATA) at byte 56: pfn 0x1 has the reserved page type 0x5"
    );
}

#[test]
fn pfns_are_held_to_what_the_guest_can_have() {
    let image = sample::hvm_image(ImageVersion::V3);
    let mut reader = Reader::new(image.as_slice()).expect("headers");
    reader.set_limits(Limits { last_pfn: Pfn(0xfefe), vcpus: 1 });
    let error = read_with(reader).expect_err("a page above the limit");
    assert!(matches!(error.kind, StreamErrorKind::BadPfn { pfn: 0xfeff, last: 0xfefe }), "{error}");

    let image = sample::pv_image(ImageVersion::V3);
    let mut reader = Reader::new(image.as_slice()).expect("headers");
    reader.set_limits(Limits { last_pfn: Pfn(100), vcpus: 0 });
    let error = read_with(reader).expect_err("a vCPU above the limit");
    assert!(matches!(error.kind, StreamErrorKind::BadVcpu { vcpu: 0, vcpus: 0 }), "{error}");
}

#[test]
fn a_pv_guest_has_no_page_beyond_its_p2m() {
    let mut image = sample::pv_image(ImageVersion::V3);
    let word = 15_u64 | 0xd << 60;
    let at = image.windows(8).position(|w| w == word.to_le_bytes()).expect("the last page");
    image[at..at + 8].copy_from_slice(&(word + 1).to_le_bytes());
    let error = read_all(&image).expect_err("page 16 of 16");
    assert!(matches!(error.kind, StreamErrorKind::BadPfn { pfn: 16, last: 15 }), "{error}");
    assert_eq!(error.offset, at as u64);
}

#[test]
fn fill_that_is_not_zero_is_a_fault_only_to_verify() {
    let mut image = sample::hvm_image(ImageVersion::V3);
    let at = image.windows(203).position(|w| w == [0x77; 203]).expect("HVM_CONTEXT");
    image[at + 203] = 1;
    let error = read_all(&image).expect_err("padding");
    assert!(matches!(error.kind, StreamErrorKind::NonZeroFill { .. }), "{error}");
    read_with(Reader::new(image.as_slice()).expect("headers")).expect("a restore ignores it");
}

#[test]
fn a_record_out_of_order_is_told_where_it_is() {
    let error = first_record(0x03, 16, &[0; 16]).expect_err("a PV record");
    assert!(
        matches!(error.kind, StreamErrorKind::OutOfOrder(OrderError::WrongGuest { .. })),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "libxc record 0 (X86_PV_P2M_FRAMES) at byte 40: \
         X86_PV_P2M_FRAMES does not belong into an image of an x86 HVM guest"
    );
}

#[test]
fn headers_are_checked() {
    let good = sample::pv_image(ImageVersion::V3);
    let damage: [(usize, u8, &str); 7] = [
        (
            0,
            0,
            "libxc image header at byte 0: image marker is 0xffffffffffffff, expected 0xffffffffffffffff",
        ),
        (11, 0, "libxc image header at byte 8: image id is 0x58454e00, expected 0x58454e46"),
        (15, 4, "libxc image header at byte 12: unsupported image version 0x4"),
        (17, 1, "libxc image header at byte 16: unsupported byte order (big-endian) option 0x1"),
        (20, 1, "libxc image header at byte 18: image header reserved field is not zero"),
        (24, 3, "libxc domain header at byte 24: unsupported guest type 0x3"),
        (28, 13, "libxc domain header at byte 28: unsupported page shift 0xd"),
    ];
    for (at, value, line) in damage {
        let mut image = good.clone();
        image[at] = value;
        assert_eq!(read_all(&image).expect_err(line).to_string(), line);
    }
}

#[test]
fn every_page_type_travels() {
    let mut image = sample::hvm_image(ImageVersion::V2)[..40].to_vec();
    let batch: Vec<_> = PageType::ALL.into_iter().enumerate().map(|(i, t)| (i as u64, t)).collect();
    sample::pages(&mut image, &batch);
    let mut reader = Reader::new(image.as_slice()).expect("headers");
    let Some(Record::PageData(head)) = reader.next_record().expect("sound") else { panic!() };
    let got: Vec<_> = head.entries.iter().map(|e| (e.pfn.0, e.page_type)).collect();
    assert_eq!(got, batch);
    assert_eq!(reader.page_bytes_left(), 9 * PAGE_BYTES as u64);
}
