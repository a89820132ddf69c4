//! Requests over UDP, and the loop of the program.

use crate::churn::MAX_PER_S;
use crate::verify::MAX_ID_BYTES;
use crate::workload::Workload;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

/// Sleep of an idle loop; with a slice of sweeping it makes a tick well under 5 ms.
const TICK_MS: u8 = 3;
/// Requests answered before the writer has its turn again.
const REQUESTS_PER_TICK: usize = 64;
const MAX_DATAGRAM_BYTES: usize = 65536;

/// Serves requests and works, for ever.
///
/// # Errors
/// When the socket or a clock fails for good.
pub(crate) fn run(socket: &UdpSocket, mut workload: Workload) -> Result<Infallible> {
    socket.set_nonblocking(true).context("cannot make the socket non-blocking")?;
    let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        wait(socket, if workload.is_busy() { 0 } else { TICK_MS })?;
        workload.read_clocks()?;
        for _ in 0..REQUESTS_PER_TICK {
            match socket.recv_from(&mut buffer) {
                Ok((length, client)) => {
                    // After the request, so that the answer knows of every gap before it.
                    workload.read_clocks()?;
                    answer(socket, &mut workload, &buffer[..length], client);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The network of a guest goes and comes back in a migration.
                Err(_) => break,
            }
        }
        if let Some((client, result)) = workload.work() {
            send(socket, result.to_string().as_bytes(), client);
        }
    }
}

fn wait(socket: &UdpSocket, timeout_ms: u8) -> Result<()> {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, timeout_ms) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).context("cannot wait for requests"),
    }
}

fn answer(socket: &UdpSocket, workload: &mut Workload, request: &[u8], client: SocketAddr) {
    if request.starts_with(b"echo ") {
        return send(socket, request, client);
    }
    let answer = match std::str::from_utf8(request).map(str::trim) {
        Ok("reset") => {
            workload.reset();
            return send(socket, b"ok", client);
        }
        Ok("stats") => Some(workload.stats()),
        Ok(request) if request.starts_with("churn ") => {
            match request["churn ".len()..].trim().parse() {
                Ok(per_s) if per_s <= MAX_PER_S => {
                    workload.set_churn(per_s);
                    return send(socket, b"ok", client);
                }
                _ => Some(error("churn is 0 to 100 times a second")),
            }
        }
        Ok(request) if request.starts_with("writes ") => {
            let mut words = request["writes ".len()..].split_whitespace().map(str::parse);
            match (words.next(), words.next(), words.next()) {
                (Some(Ok(pages_per_s)), Some(Ok(hot_pages)), None)
                    if workload.set_writes(pages_per_s, hot_pages as usize) =>
                {
                    return send(socket, b"ok", client);
                }
                _ => Some(error("writes wants pages per second, and hot pages that there are")),
            }
        }
        Ok(request) => match request.strip_prefix("verify").map(|id| (id, id.trim())) {
            Some((_, id)) if id.len() > MAX_ID_BYTES => Some(error("the identifier is too long")),
            Some((rest, id)) if rest.is_empty() || rest.starts_with(' ') => {
                workload.verify(id, client)
            }
            _ => Some(error("unknown request")),
        },
        Err(_) => Some(error("the request is not UTF-8")),
    };
    if let Some(answer) = answer {
        send(socket, answer.to_string().as_bytes(), client);
    }
}

fn error(text: &str) -> Value {
    json!({ "error": text })
}

/// An answer that cannot be sent is lost like one that the network loses: the client asks again.
fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    let _ = socket.send_to(answer, client);
}
