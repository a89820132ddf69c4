//! The relay between two programs: every byte arrives, and each direction ends on its own.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

fn relay() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A relay that listens on a free port, and that port.
fn listening(command: &[&str]) -> (Child, u16) {
    let mut child = relay()
        .args(["listen", "--once", "127.0.0.1:0", "--deadline-s", "20", "--"])
        .args(command)
        .spawn()
        .expect("relay listen");
    let mut line = String::new();
    let stderr = child.stderr.take().expect("stderr");
    BufReader::new(stderr).read_line(&mut line).expect("a line");
    assert!(line.starts_with("listening"), "{line}");
    let port = line.trim().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    (child, port.expect("a port"))
}

fn connecting(port: u16) -> Child {
    relay().args(["connect", &format!("127.0.0.1:{port}")]).spawn().expect("relay connect")
}

/// A peer of ours for a relay that connects.
fn accepted() -> (Child, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let child = connecting(listener.local_addr().expect("address").port());
    (child, listener.accept().expect("the relay connects").0)
}

/// Exit status, or a failed test when the program has not ended in time.
fn exit_code(child: &mut Child) -> Option<i32> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if let Some(status) = child.try_wait().expect("wait") {
            return status.code();
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("kill");
    panic!("the program does not end");
}

fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn many_bytes_pass_both_ways_at_once_unchanged() {
    let (mut server, port) = listening(&["cat"]);
    let mut client = connecting(port);
    let sent = bytes(64 * MIB + 13);
    let (mut stdin, mut stdout) =
        (client.stdin.take().expect("stdin"), client.stdout.take().expect("stdout"));
    let received = thread::scope(|scope| {
        // Moved in, so that it is closed after the last byte.
        let sent = &sent;
        scope.spawn(move || stdin.write_all(sent).expect("write"));
        let mut received = Vec::new();
        stdout.read_to_end(&mut received).expect("read");
        received
    });
    assert_eq!(received.len(), sent.len());
    assert!(received == sent, "bytes changed on the way");
    assert_eq!(exit_code(&mut client), Some(0));
    assert_eq!(exit_code(&mut server), Some(0));
}

#[test]
fn the_end_of_stdin_reaches_the_command_while_its_answer_is_still_awaited() {
    // wc answers only after it saw the end of its input.
    let (mut server, port) = listening(&["wc", "-c"]);
    let mut client = connecting(port);
    client.stdin.take().expect("stdin").write_all(&bytes(3 * MIB)).expect("write");
    let mut answer = String::new();
    client.stdout.take().expect("stdout").read_to_string(&mut answer).expect("read");
    assert_eq!(answer.trim(), (3 * MIB).to_string());
    assert_eq!(exit_code(&mut client), Some(0));
    assert_eq!(exit_code(&mut server), Some(0));
}

#[test]
fn the_end_of_the_peer_closes_stdout_while_stdin_is_still_relayed() {
    let (mut client, mut peer) = accepted();
    peer.write_all(b"bye").expect("write");
    peer.shutdown(Shutdown::Write).expect("shutdown");
    let mut answer = String::new();
    client.stdout.take().expect("stdout").read_to_string(&mut answer).expect("read");
    assert_eq!(answer, "bye");
    assert_eq!(client.try_wait().expect("wait"), None, "stdin is still open");
    let sent = bytes(5 * MIB);
    let mut stdin = client.stdin.take().expect("stdin");
    let mut received = vec![0; sent.len()];
    thread::scope(|scope| {
        let sent = &sent;
        scope.spawn(move || stdin.write_all(sent).expect("write"));
        peer.read_exact(&mut received).expect("read");
    });
    assert!(received == sent);
    assert_eq!(peer.read(&mut [0]).expect("read"), 0, "the end of stdin");
    assert_eq!(exit_code(&mut client), Some(0));
}

#[test]
fn a_peer_that_is_gone_ends_the_relay_in_failure_when_more_is_to_be_sent() {
    let (mut client, peer) = accepted();
    drop(peer);
    let mut stdin = client.stdin.take().expect("stdin");
    let block = bytes(MIB);
    let begun = Instant::now();
    while stdin.write_all(&block).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the bytes go nowhere");
    }
    assert_eq!(exit_code(&mut client), Some(1));
}

#[test]
fn a_reader_of_stdout_that_is_gone_ends_the_relay_in_failure() {
    let (mut client, mut peer) = accepted();
    drop(client.stdout.take());
    peer.set_write_timeout(Some(Duration::from_secs(20))).expect("timeout");
    while peer.write_all(&[0; 4096]).is_ok() {}
    assert_eq!(exit_code(&mut client), Some(1));
}

#[test]
fn files_in_place_of_pipes_are_relayed_too() {
    let (mut server, port) = listening(&["cat"]);
    let sent = bytes(2 * MIB + 1);
    let mut files = (tempfile::tempfile().expect("file"), tempfile::tempfile().expect("file"));
    files.0.write_all(&sent).expect("write");
    files.0.rewind().expect("rewind");
    let duplicate = |file: &File| Stdio::from(file.try_clone().expect("duplicate"));
    let mut client = relay()
        .args(["connect", &format!("127.0.0.1:{port}")])
        .stdin(duplicate(&files.0))
        .stdout(duplicate(&files.1))
        .spawn()
        .expect("relay connect");
    assert_eq!(exit_code(&mut client), Some(0));
    assert_eq!(exit_code(&mut server), Some(0));
    let mut received = Vec::new();
    files.1.rewind().expect("rewind");
    files.1.read_to_end(&mut received).expect("read");
    assert!(received == sent);
}

#[test]
fn a_peer_that_is_late_is_waited_for() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("address").port()
    };
    let mut client = connecting(port);
    thread::sleep(Duration::from_millis(300));
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is still free");
    let (mut peer, _) = listener.accept().expect("the relay connects");
    client.stdin.take().expect("stdin").write_all(b"hello").expect("write");
    let mut received = String::new();
    peer.read_to_string(&mut received).expect("read");
    assert_eq!(received, "hello");
    drop(peer);
    assert_eq!(exit_code(&mut client), Some(0));
}

#[test]
fn a_listener_gives_up_at_its_deadline() {
    let begun = Instant::now();
    let output = relay()
        .args(["listen", "--once", "127.0.0.1:0", "--deadline-s", "1", "--", "cat"])
        .output()
        .expect("relay listen");
    assert_eq!(output.status.code(), Some(1));
    assert!((1000..5000).contains(&begun.elapsed().as_millis()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nobody connected within 1 s"));
}

#[test]
fn wrong_command_lines_are_refused_with_the_usage() {
    for args in [
        &["connect"][..],
        &["connect", "a:1", "b:2"],
        &["listen", "--", "cat"],
        &["listen", "--once", "127.0.0.1:0", "--"],
        &["listen", "--once", "127.0.0.1:0", "--deadline-s", "soon", "--", "cat"],
        &["dance"],
    ] {
        let output = relay().args(args).output().expect("relay");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage:"), "{args:?}");
    }
}
