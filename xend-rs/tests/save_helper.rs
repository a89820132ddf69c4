//! `xend-save-helper` as libxl starts it, on a machine that has no Xen.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The helper and our ends of its pipes: libxl's part of the conversation.
struct Helper {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

/// A message of the helper: its number and its arguments.
struct Message {
    number: u16,
    arguments: Vec<u8>,
}

impl Message {
    fn u32_at(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.arguments[offset..offset + 4].try_into().unwrap())
    }

    /// The text of a log message: after level and errno come two strings, context and text.
    fn log_text(&self) -> String {
        let context_bytes = self.u32_at(8) as usize;
        let text = &self.arguments[12 + context_bytes + 4..];
        String::from_utf8(text[..text.len() - 1].to_vec()).unwrap()
    }
}

const LOG: u16 = 1;
const COMPLETE: u16 = 10;

impl Helper {
    fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    fn start_with(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_xend-save-helper"))
            .args(args)
            .env_remove("XEND_TRACKING")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().unwrap();
        Self { child, stdin, stdout }
    }

    fn next(&mut self) -> Message {
        let mut length = [0; 2];
        self.stdout.read_exact(&mut length).unwrap();
        let mut body = vec![0; usize::from(u16::from_ne_bytes(length))];
        self.stdout.read_exact(&mut body).unwrap();
        let arguments = body.split_off(2);
        Message { number: u16::from_ne_bytes(body.try_into().unwrap()), arguments }
    }

    fn answer(&mut self, value: i32) {
        self.stdin.as_mut().unwrap().write_all(&value.to_ne_bytes()).unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill().unwrap();
        panic!("the helper did not end")
    }
}

/// What libxl hears of a request that must fail: the error line, then the verdict.
fn failure_of(args: &[&str]) -> (String, i32, u32) {
    failure_in(Helper::start(args))
}

fn failure_in(mut helper: Helper) -> (String, i32, u32) {
    let mut errors = Vec::new();
    loop {
        let message = helper.next();
        match message.number {
            LOG if message.u32_at(0) == 8 => errors.push(message.log_text()),
            LOG => {}
            COMPLETE => {
                helper.answer(0);
                assert_eq!(helper.exit_code(), Some(0), "libxl was told, so this is no crash");
                assert_eq!(errors.len(), 1, "one line: {errors:?}");
                return (errors.remove(0), message.u32_at(0) as i32, message.u32_at(4));
            }
            other => panic!("message {other} from a helper without a Xen"),
        }
    }
}

#[test]
fn without_xen_libxl_is_told_why() {
    assert!(!std::path::Path::new("/proc/xen/capabilities").exists(), "run this outside Dom0");
    let file = File::open("/dev/null").unwrap();
    let duplicate = nix::unistd::dup(&file).unwrap();
    let io_fd = duplicate.as_raw_fd().to_string();
    for args in [
        vec!["--save-domain", &io_fd, "-1", "1", "1", "8", "0"],
        vec!["--restore-domain", &io_fd, "-1", "1", "1", "0", "2", "0", "256", "0"],
    ] {
        let (line, retval, errno) = failure_of(&args);
        assert!(line.contains("Dom0"), "{line}");
        assert_eq!(retval, -1);
        assert_ne!(errno, 0);
    }
}

#[test]
fn a_descriptor_that_is_not_open_is_named() {
    let (line, retval, _) = failure_of(&["--save-domain", "987", "-1", "1", "1", "8", "0"]);
    assert!(line.contains("987"), "{line}");
    assert_eq!(retval, -1);
}

#[test]
fn an_unknown_way_to_track_writes_is_named_with_the_known_ones() {
    let args = ["--save-domain", "987", "-1", "1", "1", "8", "0"];
    let helper = Helper::start_with(&args, &[("XEND_TRACKING", "magic")]);
    let (line, retval, _) = failure_in(helper);
    assert!(line.contains("XEND_TRACKING") && line.contains("magic"), "{line}");
    assert!(line.contains("log-dirty"), "{line}");
    assert_eq!(retval, -1);
}

#[test]
fn a_person_who_starts_it_is_told_what_it_is() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_xend-save-helper")).arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("LIBXL_SAVE_HELPER"), "{text}");
}

#[test]
fn libxl_that_goes_away_ends_it() {
    let mut helper = Helper::start(&["--save-domain", "987", "-1", "1", "1", "8", "0"]);
    helper.stdin = None;
    assert_eq!(helper.exit_code(), Some(1));
}
