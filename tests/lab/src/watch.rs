//! The outside observer: how a guest looks to those who talk to it.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{LabError, Result};

/// How long replies may still come in after the last probe.
const GRACE: Duration = Duration::from_millis(500);

/// Probes on their way; [`finish`](Watch::finish) gives the result.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    prober: JoinHandle<Record>,
}

/// What the observer saw.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchReport {
    /// The longest time between two replies in a row, in ms; also counts the time from the start
    /// to the first reply and from the last reply to the end. In a healthy guest it is a little
    /// over the probes' period.
    pub longest_gap_ms: f64,
    /// When that gap began, in ms from the start of the watch.
    pub gap_began_ms: f64,
    /// Probes sent.
    pub sent: u64,
    /// Probes that were never answered.
    pub lost: u64,
}

/// Times in ms from the start.
#[derive(Debug, Default)]
struct Record {
    sent: u64,
    replies_ms: Vec<f64>,
    end_ms: f64,
}

impl Watch {
    pub(crate) fn start(guest: SocketAddrV4, period: Duration) -> Result<Self> {
        let failed = |source| LabError::Network { operation: format!("probe {guest}"), source };
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let prober = thread::spawn(move || probe(&socket, guest, period, &told));
        Ok(Self { stop, prober })
    }

    /// Stops the probes and says what was seen.
    #[must_use]
    pub fn finish(self) -> WatchReport {
        self.stop.store(true, Ordering::Relaxed);
        self.prober.join().unwrap_or_default().report()
    }
}

/// One thread both sends and receives, so that its record needs no lock.
fn probe(socket: &UdpSocket, guest: SocketAddrV4, period: Duration, stop: &AtomicBool) -> Record {
    let start = Instant::now();
    let mut record = Record::default();
    let mut answered = HashSet::new();
    let mut next = start;
    let mut end = None;
    loop {
        let now = Instant::now();
        if end.is_none() && stop.load(Ordering::Relaxed) {
            record.end_ms = milliseconds(now - start);
            end = Some(now + GRACE);
        }
        if end.is_some_and(|end| now >= end) {
            return record;
        }
        if end.is_none() && now >= next {
            // Unsent counts as lost: no route for a moment is what a client would see too.
            let _ = socket.send_to(format!("echo {}", record.sent).as_bytes(), guest);
            record.sent += 1;
            next += period;
        }
        let patience = if end.is_none() { next } else { now + GRACE };
        let patience = patience.saturating_duration_since(Instant::now());
        let _ = socket.set_read_timeout(Some(patience.max(Duration::from_millis(1))));
        let mut reply = [0; 64];
        let Ok((length, _)) = socket.recv_from(&mut reply) else { continue };
        let number = std::str::from_utf8(&reply[..length])
            .ok()
            .and_then(|text| text.strip_prefix("echo ")?.parse::<u64>().ok());
        if number.is_some_and(|number| number < record.sent && answered.insert(number)) {
            record.replies_ms.push(milliseconds(start.elapsed()));
        }
    }
}

impl Record {
    fn report(&self) -> WatchReport {
        let mut report = WatchReport {
            longest_gap_ms: 0.0,
            gap_began_ms: 0.0,
            sent: self.sent,
            lost: self.sent.saturating_sub(self.replies_ms.len() as u64),
        };
        let mut previous = 0.0;
        for &moment in self.replies_ms.iter().chain([&self.end_ms]) {
            if moment - previous > report.longest_gap_ms {
                report.longest_gap_ms = moment - previous;
                report.gap_began_ms = previous;
            }
            previous = moment;
        }
        report
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::{Record, Watch};
    use std::net::{SocketAddr, UdpSocket};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn the_longest_gap_may_lie_at_the_end() {
        let record = Record { sent: 5, replies_ms: vec![10.0, 30.0, 90.0], end_ms: 200.0 };
        let report = record.report();
        assert_eq!((report.longest_gap_ms, report.gap_began_ms), (110.0, 90.0));
        assert_eq!((report.sent, report.lost), (5, 2));
    }

    #[test]
    fn a_silent_stretch_of_the_other_side_is_seen() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let SocketAddr::V4(address) = server.local_addr().expect("an address") else {
            panic!("bound to IPv4");
        };
        let watch = Watch::start(address, Duration::from_millis(10)).expect("a watch");
        let echo = thread::spawn(move || {
            let mut buffer = [0; 64];
            for number in 0..60 {
                if number == 20 {
                    thread::sleep(Duration::from_millis(300));
                }
                let (length, from) = server.recv_from(&mut buffer).expect("a probe");
                server.send_to(&buffer[..length], from).expect("a reply");
            }
        });
        echo.join().expect("60 probes");
        let report = watch.finish();
        assert!(report.longest_gap_ms > 250.0 && report.longest_gap_ms < 1000.0, "{report:?}");
        assert!(report.sent >= 60 && report.lost <= report.sent - 60, "{report:?}");
    }
}
