//! `xend stream inspect` as a user runs it.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use xend_rs::stream::fuzz::sample;
use xend_rs::stream::libxc::ImageVersion;

fn xend(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xend"));
    command.args(["stream", "inspect"]).args(arguments);
    command
}

fn in_file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("stream");
    fs::write(&file, bytes).expect("the stream");
    (directory, file)
}

fn inspect(bytes: &[u8], arguments: &[&str]) -> (Option<i32>, String, String) {
    let (_directory, file) = in_file(bytes);
    let output = xend(arguments).arg(&file).output().expect("xend to run");
    let file = file.display().to_string();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&file, "FILE");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Feeds `bytes` on standard input.
fn inspect_pipe(bytes: &[u8], arguments: &[&str]) -> Output {
    let mut child = xend(arguments)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("xend to run");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(bytes).expect("room in the pipe");
    drop(stdin);
    child.wait_with_output().expect("xend to end")
}

#[test]
fn a_save_file_is_printed_record_by_record() {
    let (code, out, err) = inspect(&sample::xl_pv_file(), &["--verify"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, include_str!("golden/inspect_xl_pv.txt"));
}

#[test]
fn every_layer_is_recognised_in_a_file_and_in_a_pipe() {
    let streams = [
        ("xl", sample::xl_pv_file()),
        ("libxl", sample::libxl_hvm_stream()),
        ("libxc", sample::hvm_image(ImageVersion::V2)),
    ];
    for (format, bytes) in streams {
        let (code, found, _) = inspect(&bytes, &["--verify"]);
        assert_eq!(code, Some(0), "{format}");
        assert!(found.starts_with(format), "{found}");
        let told = inspect(&bytes, &["--verify", "--from", format]);
        assert_eq!(told, (Some(0), found.clone(), String::new()));
        let piped = inspect_pipe(&bytes, &["--verify"]);
        assert_eq!(String::from_utf8_lossy(&piped.stdout), found);
    }
}

#[test]
fn pages_that_come_twice_are_counted() {
    let (code, out, _) = inspect(&sample::hvm_image(ImageVersion::V3), &["--summary"]);
    assert_eq!(code, Some(0));
    assert_eq!(out.lines().count(), 4, "{out}");
    assert!(out.contains("pages    4: NOTAB 3, XTAB 1\n"), "{out}");
    assert!(out.contains("pfns     3 distinct, 1 sent again, highest 0xfeff\n"), "{out}");
}

#[test]
fn pages_of_zeroes_are_told_in_runs() {
    let (code, out, err) = inspect(&sample::xend_image(), &["--verify"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("XEND_ZERO_PAGES"), "{out}");
    assert!(out.contains("4359 pfns 0x1-0x1202 in 4 runs\n"), "{out}");
    assert!(out.contains("pages    2: NOTAB 2; 4360 of zeroes\n"), "{out}");
    assert!(out.contains("pfns     4361 distinct, 1 sent again, highest 0xfeff\n"), "{out}");
}

#[test]
fn an_unsound_stream_is_told_in_one_line_with_status_1() {
    let mut cut = sample::xl_pv_file();
    cut.truncate(10_000);
    let expected = "xend: FILE is not sound: libxc record 6 (PAGE_DATA) at byte 10000: \
        the stream ends after 1426 of 4096 bytes of page contents\n";
    let (code, out, err) = inspect(&cut, &["--verify"]);
    assert_eq!((code, err.as_str()), (Some(1), expected));
    assert!(out.contains("X86_PV_P2M_FRAMES") && !out.contains("verdict"), "{out}");

    let mut longer = sample::xl_pv_file();
    longer.push(0);
    let (code, _, err) = inspect(&longer, &["--verify"]);
    let expected = "xend: FILE is not sound: \
        more bytes follow the end of the stream at byte 22758\n";
    assert_eq!((code, err.as_str()), (Some(1), expected));
    assert_eq!(inspect(&longer, &[]).0, Some(0));
}

#[test]
fn disorder_is_shown_and_only_verify_objects() {
    let good = sample::hvm_image(ImageVersion::V3);
    let mut without_static_data_end = good.clone();
    let marker = [0x10, 0, 0, 0, 0, 0, 0, 0];
    let at = good.windows(8).position(|w| w == marker).expect("STATIC_DATA_END");
    without_static_data_end.drain(at..at + 8);
    assert_eq!(inspect(&without_static_data_end, &[]).0, Some(0));
    let (code, _, err) = inspect(&without_static_data_end, &["--verify"]);
    assert_eq!(code, Some(1));
    assert!(err.ends_with("PAGE_DATA before STATIC_DATA_END\n"), "{err}");
}

#[test]
fn a_device_model_of_a_pv_guest_is_unsound() {
    let mut stream = sample::xl_pv_file();
    stream.truncate(stream.len() - 8);
    let hvm = sample::libxl_hvm_stream_without_xenstore_data();
    stream.extend(&hvm[hvm.len() - 40..]);
    let (code, _, err) = inspect(&stream, &["--verify"]);
    assert_eq!(code, Some(1));
    let expected = "EMULATOR_CONTEXT for a PV guest, which has no device model\n";
    assert!(err.ends_with(expected), "{err}");
}

#[test]
fn a_configuration_that_is_no_json_is_unsound() {
    let mut file = sample::xl_pv_file();
    file[52] = b'[';
    assert_eq!(inspect(&file, &[]).0, Some(0));
    let (code, _, err) = inspect(&file, &["--verify"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("xl save-file header at byte 52: the domain configuration"), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
}

#[test]
fn what_cannot_be_read_is_told_with_status_2() {
    let output = xend(&["/nonexistent/file"]).output().expect("xend to run");
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        err,
        "xend: cannot open /nonexistent/file: No such file or directory (os error 2)\n"
    );
    let output = xend(&["/"]).output().expect("xend to run");
    assert_eq!(output.status.code(), Some(2), "a directory can be opened, but not read");

    let (code, _, err) = inspect(b"#!/bin/sh\n", &[]);
    let expected = "xend: FILE is not sound: \
        neither an xl save file, nor a libxl stream, nor a libxc image\n";
    assert_eq!((code, err.as_str()), (Some(1), expected));
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_panic() {
    // More lines than a pipe holds.
    let mut image = sample::hvm_image(ImageVersion::V3);
    let end = image.split_off(image.len() - 8);
    for _ in 0..20_000 {
        image.extend([0x42, 0, 0, 0x80, 0, 0, 0, 0]);
    }
    image.extend(end);
    let (_directory, file) = in_file(&image);
    for arguments in [&[][..], &["--verify"]] {
        let mut child = xend(arguments)
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("xend to run");
        let mut first = [0; 10];
        child.stdout.take().expect("its output").read_exact(&mut first).expect("a line");
        let output = child.wait_with_output().expect("xend to end");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
}
