//! Requests and answers, one datagram each, asked again until they come.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{ANSWER_TIMEOUT, Guest};
use crate::error::{LabError, Result};
use crate::lab::WORKLOAD_PORT;

const ANSWER_LIMIT_BYTES: usize = 65536;

impl Guest {
    pub(super) fn ask_ok(&self, request: &str) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(10);
        match self.ask(request, until, |answer| answer == b"ok")? {
            Some(_) => Ok(()),
            None => Err(LabError::Guest {
                guest: self.name.clone(),
                reason: format!("did not answer `{request}`"),
            }),
        }
    }

    pub(super) fn ask_json(&self, request: &str, timeout: Duration) -> Result<Value> {
        let until = Instant::now() + timeout;
        let answer = self.ask(request, until, |answer| answer.starts_with(b"{"))?;
        answer.and_then(|answer| serde_json::from_slice(&answer).ok()).ok_or_else(|| {
            LabError::Guest {
                guest: self.name.clone(),
                reason: format!("did not answer `{request}` within {} s", timeout.as_secs_f32()),
            }
        })
    }

    /// Repeats a request until an answer comes that is one, or until `until`.
    pub(super) fn ask(
        &self,
        request: &str,
        until: Instant,
        is_answer: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>> {
        self.ask_port(WORKLOAD_PORT, request, until, is_answer)
    }

    pub(super) fn ask_port(
        &self,
        port: u16,
        request: &str,
        until: Instant,
        is_answer: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>> {
        let address = SocketAddrV4::new(self.ip, port);
        let failed =
            |source: io::Error| LabError::Network { operation: format!("ask {address}"), source };
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(failed)?;
        let mut buffer = vec![0; ANSWER_LIMIT_BYTES];
        while Instant::now() < until {
            // Not connected: "port unreachable" while the guest boots is not of interest.
            let _ = socket.send_to(request.as_bytes(), address);
            let again = (Instant::now() + ANSWER_TIMEOUT).min(until);
            loop {
                let patience = again.saturating_duration_since(Instant::now());
                if patience.is_zero() {
                    break;
                }
                socket.set_read_timeout(Some(patience)).map_err(failed)?;
                if let Ok((length, _)) = socket.recv_from(&mut buffer)
                    && is_answer(&buffer[..length])
                {
                    return Ok(Some(buffer[..length].to_vec()));
                }
            }
        }
        Ok(None)
    }
}
