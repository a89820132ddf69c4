//! A bad stream ends the restore with one line that says what and where, and never with a domain
//! that looks complete.

use xend_rs::error_line::error_line;
use xend_rs::hypervisor::sim::{Faults, Operation, SimDestination, SimMemory};
use xend_rs::hypervisor::types::Pfn;
use xend_rs::migration::{RestoreError, restore};

use crate::harness::{
    ReceivingToolstack, SimToolstack, options, restore_from, save_to_vec, source_of,
};

const PFNS: u64 = 1;

fn small_image() -> Vec<u8> {
    let memory = SimMemory::filled(PFNS);
    save_to_vec(source_of(&memory), &mut SimToolstack::new(&memory), &options(true)).unwrap().0
}

#[test]
fn a_stream_cut_at_any_byte_is_refused() {
    let image = small_image();
    for cut in 0..image.len() {
        let error = restore_from(&image[..cut], PFNS).unwrap_err();
        let RestoreError::Stream(stream) = &error else { panic!("at {cut}: {error:?}") };
        assert_eq!(stream.offset, cut as u64, "{error}");
        let line = error_line(&error);
        assert!(line.contains("ends after") && !line.contains('\n'), "{line}");
    }
    restore_from(&image, PFNS).unwrap();
}

#[test]
fn no_single_corrupt_byte_does_worse_than_fail() {
    let image = small_image();
    for at in 0..image.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = image.clone();
            bad[at] ^= flip;
            // Page contents carry no checksum in Xen's format, so some of these succeed.
            let mut destination = SimDestination::new(SimMemory::empty(PFNS), Faults::none());
            let result = restore(&mut destination, &mut ReceivingToolstack::default(), &bad[..]);
            assert_eq!(result.is_ok(), destination.is_finished());
        }
    }
}

#[test]
fn a_pfn_beyond_the_guest_is_refused_with_its_record() {
    // One page more than the destination has room for.
    let memory = SimMemory::filled(PFNS + 1);
    let (image, _) =
        save_to_vec(source_of(&memory), &mut SimToolstack::new(&memory), &options(true)).unwrap();
    let line = error_line(&restore_from(&image, PFNS).unwrap_err());
    assert!(line.contains("PAGE_DATA") && line.contains(&Pfn(PFNS).to_string()), "{line}");
}

#[test]
fn a_destination_that_fails_says_in_which_record() {
    for operation in [Operation::OpenWindow, Operation::Finish] {
        let memory = SimMemory::empty(PFNS);
        let mut destination = SimDestination::new(memory, Faults::after(operation, 0));
        let image = small_image();
        let mut toolstack = ReceivingToolstack::default();
        let error = restore(&mut destination, &mut toolstack, &image[..]).unwrap_err();
        assert!(matches!(error, RestoreError::Hypervisor { .. }));
        assert!(error_line(&error).contains("at byte"), "{}", error_line(&error));
        assert!(!destination.is_finished());
    }
}

#[test]
fn what_follows_the_image_is_left_in_the_stream() {
    let mut image = small_image();
    let length = image.len();
    image.extend(b"libxl's own records");
    let (_, report) = restore_from(&image, PFNS).unwrap();
    assert_eq!(report.received_bytes, length as u64);
}
