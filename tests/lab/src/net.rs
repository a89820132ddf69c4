//! The link between the hosts: a bridge, a tap for each host, and what can be done to them.

use std::fs;
use std::net::Ipv4Addr;

use crate::capture::Capture;
use crate::error::{LabError, Result};
use crate::isolation::Isolation;
use crate::program;

const BRIDGE: &str = "labbr0";
/// Address of the outside observer: the bridge as seen from hosts and guests.
pub const OBSERVER_IP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// How much of the shaped rate may wait in a tap's queue. Deep enough for one TCP stream to fill
/// the link, short enough that the queue itself adds little to the time guests are away.
const QUEUE_MS: u64 = 50;

/// Bytes and packets that passed a host's network card since the lab came up, as the host sees
/// them. With segmentation offload a packet may be larger than one frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Bytes the host sent.
    pub sent_bytes: u64,
    /// Bytes the host received.
    pub received_bytes: u64,
}

impl LinkCounters {
    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            sent_bytes: self.sent_bytes.saturating_sub(earlier.sent_bytes),
            received_bytes: self.received_bytes.saturating_sub(earlier.received_bytes),
        }
    }
}

/// The network that hosts migrate and guests talk over. The command network is another one, which
/// nothing here touches.
#[derive(Debug)]
pub struct Link {
    taps: Vec<String>,
}

impl Link {
    /// Creates the bridge and one tap per host name.
    pub(crate) fn create(_isolation: &Isolation, hosts: &[&str]) -> Result<Self> {
        let bridge = program::output("ip", &["link", "add", BRIDGE, "type", "bridge"]);
        if let Err(error) = bridge {
            return Err(LabError::Missing(format!(
                "this kernel offers no network bridge (try `modprobe bridge`): {error}"
            )));
        }
        quiet_ipv6(BRIDGE)?;
        program::output("ip", &["addr", "add", &format!("{OBSERVER_IP}/24"), "dev", BRIDGE])?;
        program::output("ip", &["link", "set", BRIDGE, "up"])?;
        let taps: Vec<String> = hosts.iter().map(|host| tap_name(host)).collect();
        for tap in &taps {
            program::output("ip", &["tuntap", "add", "dev", tap, "mode", "tap"])?;
            quiet_ipv6(tap)?;
            program::output("ip", &["link", "set", tap, "master", BRIDGE, "up"])?;
        }
        Ok(Self { taps })
    }

    /// Limits every host's link to `mbit` Mbit/s in each direction, or lifts the limit.
    ///
    /// Each host's incoming side is queued, so that between two hosts each direction is shaped
    /// once. UDP, which is what the outside observer uses, goes ahead of the queue: the gap it
    /// sees is the guest's and not the queue's.
    ///
    /// # Errors
    /// What `tc` says.
    pub fn shape(&self, mbit: Option<u32>) -> Result<()> {
        for tap in &self.taps {
            // Fails when there is none yet, which is fine.
            let _ = program::output("tc", &["qdisc", "del", "dev", tap, "root"]);
            if let Some(mbit) = mbit {
                shape_tap(tap, mbit)?;
            }
        }
        Ok(())
    }

    /// Cuts the hosts off from each other. The outside observer still reaches all of them, and
    /// the guests on them: only host-to-host traffic is lost.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn cut(&self) -> Result<()> {
        self.isolate("on")
    }

    /// Joins the hosts again after [`cut`](Self::cut).
    ///
    /// # Errors
    /// What `ip` says.
    pub fn heal(&self) -> Result<()> {
        self.isolate("off")
    }

    /// The counters of a host's network card on this link.
    ///
    /// # Errors
    /// When there is no host of that name.
    pub fn counters(&self, host: &str) -> Result<LinkCounters> {
        let path = "/proc/thread-self/net/dev";
        let table = fs::read_to_string(path).map_err(LabError::file("read", path))?;
        counters_in(&table, &tap_name(host)).ok_or_else(|| {
            LabError::Missing(format!("there is no host `{host}` on this lab's link"))
        })
    }

    /// Starts to listen, as the outside observer, to what is sent to all on the link. Call it from
    /// the thread that is in the lab's network.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn capture(&self) -> Result<Capture> {
        Capture::start(BRIDGE)
    }

    /// What the bridge and its neighbours have learned, and what the devices have counted, to read.
    pub(crate) fn state(&self) -> String {
        let show = |program: &str, args: &[&str]| {
            let shown = program::text(program, args).unwrap_or_else(|error| error.to_string());
            format!("# {program} {}\n{shown}\n", args.join(" "))
        };
        show("bridge", &["fdb", "show"]) + &show("ip", &["neigh"]) + &show("ip", &["-s", "link"])
    }

    fn isolate(&self, state: &str) -> Result<()> {
        for tap in &self.taps {
            program::output(
                "ip",
                &["link", "set", "dev", tap, "type", "bridge_slave", "isolated", state],
            )?;
        }
        Ok(())
    }
}

/// The name of a host's tap.
pub(crate) fn tap_name(host: &str) -> String {
    format!("tap-{host}")
}

/// Keeps the kernel from sending its IPv6 discovery, which would show in the byte counts.
fn quiet_ipv6(device: &str) -> Result<()> {
    program::output("ip", &["link", "set", "dev", device, "addrgenmode", "none"]).map(drop)
}

fn shape_tap(tap: &str, mbit: u32) -> Result<()> {
    let rate = format!("{mbit}mbit");
    let queue = (u64::from(mbit) * 1_000_000 / 8 * QUEUE_MS / 1000).max(128 * 1024).to_string();
    let commands: [&[&str]; 6] = [
        &["qdisc", "add", "dev", tap, "root", "handle", "1:", "htb", "default", "20"],
        &[
            "class", "add", "dev", tap, "parent", "1:", "classid", "1:1", "htb", "rate", &rate,
            "burst", "64k", "quantum", "60000",
        ],
        &[
            "class", "add", "dev", tap, "parent", "1:1", "classid", "1:10", "htb", "rate", "1mbit",
            "ceil", &rate, "prio", "0", "quantum", "60000",
        ],
        &[
            "class", "add", "dev", tap, "parent", "1:1", "classid", "1:20", "htb", "rate", &rate,
            "burst", "64k", "prio", "1", "quantum", "60000",
        ],
        &["qdisc", "add", "dev", tap, "parent", "1:20", "bfifo", "limit", &queue],
        &[
            "filter", "add", "dev", tap, "parent", "1:", "protocol", "ip", "u32", "match", "ip",
            "protocol", "17", "0xff", "flowid", "1:10",
        ],
    ];
    for command in commands {
        program::output("tc", command)?;
    }
    Ok(())
}

/// Reads one device's line of /proc/net/dev. What the tap receives is what the host sent.
fn counters_in(table: &str, device: &str) -> Option<LinkCounters> {
    let fields =
        table.lines().find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    let numbers: Vec<u64> =
        fields.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>().ok()?;
    Some(LinkCounters { sent_bytes: *numbers.first()?, received_bytes: *numbers.get(8)? })
}

#[cfg(test)]
mod tests {
    use super::{LinkCounters, counters_in};

    #[test]
    fn counters_are_the_hosts_view_of_its_tap() {
        let table = "Inter-|   Receive\n face |bytes packets\n\
                     tap-ab:  9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n\
                     tap-a:  70 2 0 0 0 0 0 0 1500 3 0 0 0 0 0 0\n";
        assert_eq!(
            counters_in(table, "tap-a"),
            Some(LinkCounters { sent_bytes: 70, received_bytes: 1500 })
        );
        assert_eq!(counters_in(table, "tap-c"), None);
    }
}
