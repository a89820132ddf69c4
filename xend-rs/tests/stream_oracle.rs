//! What we write, judged by the verifier that Xen ships.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use xend_rs::hypervisor::types::Pfn;
use xend_rs::stream::fuzz::sample;
use xend_rs::stream::libxc::page_data::{PageEntry, encode_head};
use xend_rs::stream::libxc::{ImageVersion, PAGE_BYTES, PageType};

const ORACLE: &str = "/usr/lib/xen-4.17/bin/verify-stream-v2";
/// Debian puts its modules where Python does not look.
const ORACLE_MODULES: &str = "/usr/lib/xen-4.17/lib/python";

/// Runs the oracle over `bytes`.
fn verify(format: &str, bytes: &[u8]) -> Output {
    assert!(Path::new(ORACLE).exists(), "{ORACLE} is missing: install xen-utils-4.17");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("stream");
    fs::write(&file, bytes).expect("the stream to judge");
    Command::new(ORACLE)
        .env("PYTHONPATH", ORACLE_MODULES)
        .args(["-v", "-f", format, "-i"])
        .arg(&file)
        .output()
        .expect("the oracle to run")
}

fn assert_sound(format: &str, bytes: &[u8]) -> String {
    let output = verify(format, bytes);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{format}: {text}\n{errors}");
    text
}

#[test]
fn images_of_both_versions_and_guests_are_sound() {
    for version in [ImageVersion::V2, ImageVersion::V3] {
        let pv = assert_sound("libxc", &sample::pv_image(version));
        assert!(pv.contains("x86 PV from Xen 4.17"), "{pv}");
        assert!(pv.contains("64bit guest, 4 levels of pagetables"), "{pv}");
        assert!(pv.contains("Start pfn 0x0, End 0xf"), "{pv}");
        let hvm = assert_sound("libxc", &sample::hvm_image_without_optional(version));
        assert!(hvm.contains("x86 HVM from Xen 4.17"), "{hvm}");
        assert!(hvm.contains("2400000 kHz, 123456789 ns, incarnation 2"), "{hvm}");
    }
}

#[test]
fn a_libxl_stream_and_an_xl_file_are_sound() {
    // Its check of xenstore data compares bytes with text and fails on any under Python 3.
    assert_sound("libxl", &sample::libxl_hvm_stream_without_xenstore_data());
    let text = assert_sound("xl", &sample::xl_pv_file());
    assert!(text.contains("Processed xl header"), "{text}");
}

#[test]
fn a_batch_of_1024_pages_of_every_type_is_sound() {
    let mut image = sample::hvm_image_without_optional(ImageVersion::V2);
    let rest = image.split_off(40);
    let entries: Vec<PageEntry> = (0..1024)
        .map(|i| PageEntry { pfn: Pfn(i), page_type: PageType::ALL[i as usize % 12] })
        .collect();
    let page_bytes = encode_head(&entries, &mut image).expect("a batch");
    assert_eq!(page_bytes, 769 * PAGE_BYTES);
    image.resize(image.len() + page_bytes, 0xee);
    image.extend(rest);
    assert_sound("libxc", &image);
}

#[test]
fn the_oracle_itself_can_say_no() {
    let mut image = sample::pv_image(ImageVersion::V3);
    image.truncate(image.len() - 1);
    let output = verify("libxc", &image);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("Stream truncated"), "{errors}");
}
