//! `xend network-list` and `block-list`: devices of guests, and how far they are connected.

use std::process::ExitCode;

use super::args::Args;
use super::c_numbers::{atoi, strtoul};
use super::columns::left;
use super::failure::Failure;
use super::{domains, output};
use crate::hypervisor::xen::xenstore::{Nodes, XenstoreError};
use crate::toolstack::Host;

/// A device as xenstore has it. Numbers that are not there are -1.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Device {
    id: i32,
    backend_domid: i32,
    backend: String,
    state: i32,
    port: i32,
    mac: String,
    /// Of a disk; of a network card, for sending and for receiving.
    rings: Vec<i32>,
}

/// The rings of a network card.
const CARD_RINGS: &[&str] = &["tx-ring-ref", "rx-ring-ref"];
/// The ring of a disk.
const DISK_RINGS: &[&str] = &["ring-ref"];

pub(super) fn networks(args: &Args) -> Result<ExitCode, Failure> {
    let operands = args.operands(1)?;
    let host = Host::open()?;
    output::print(network_heading())?;
    for wanted in operands {
        let number = domains::find(&host, wanted)?;
        for card in devices(&host, number, "vif", CARD_RINGS)? {
            output::print(network_line(&card))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn disks(args: &Args) -> Result<ExitCode, Failure> {
    let operands = args.operands(1)?;
    let host = Host::open()?;
    output::print(disk_heading())?;
    for wanted in operands {
        let Some(number) = domains::qualify(&host, wanted)? else {
            output::warn(format!("{wanted} is an invalid domain identifier\n"));
            continue;
        };
        for disk in devices(&host, number, "vbd", DISK_RINGS)? {
            output::print(disk_line(number, &disk))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn devices(
    host: &Host,
    number: u32,
    kind: &str,
    rings: &[&str],
) -> Result<Vec<Device>, XenstoreError> {
    let folder = format!("/libxl/{number}/device/{kind}");
    let mut devices = Vec::new();
    for name in host.store.list(&folder)?.unwrap_or_default() {
        let id = atoi(&name);
        let node = |name: &str| host.store.read(&format!("{folder}/{id}/{name}"));
        let Some(backend) = node("backend")? else { continue };
        let frontend = |name: &str| -> Result<i32, XenstoreError> {
            let path = format!("/local/domain/{number}/device/{kind}/{id}/{name}");
            Ok(host.store.read(&path)?.map_or(-1, |value| strtoul(&value).0 as i32))
        };
        devices.push(Device {
            id,
            backend_domid: backend_domid(&backend),
            state: frontend("state")?,
            port: frontend("event-channel")?,
            mac: node("mac")?.unwrap_or_else(|| "00:00:00:00:00:00".to_owned()),
            rings: rings.iter().map(|ring| frontend(ring)).collect::<Result<_, _>>()?,
            backend,
        });
    }
    Ok(devices)
}

/// `/local/domain/BACKEND/backend/vif/...`
fn backend_domid(path: &str) -> i32 {
    path.strip_prefix("/local/domain/").map_or(0, atoi)
}

fn network_heading() -> String {
    format!(
        "{} {} {} {} {} {} {:>5}/{} {}\n",
        left("Idx", 3),
        left("BE", 2),
        left("Mac Addr.", 17),
        left("handle", 6),
        left("state", 5),
        left("evt-ch", 6),
        "tx-",
        left("rx-ring-ref", 5),
        left("BE-path", 30)
    )
}

fn network_line(card: &Device) -> String {
    let Device { id, backend_domid, backend, state, port, mac, rings } = card;
    format!(
        "{id:<3} {backend_domid:<2} {}{id:6} {state:5} {port:6} {:5}/{:<11} {}\n",
        mac.to_lowercase(),
        rings[0],
        rings[1],
        left(backend, 30)
    )
}

fn disk_heading() -> String {
    format!(
        "{} {} {} {} {} {} {}\n",
        left("Vdev", 5),
        left("BE", 3),
        left("handle", 6),
        left("state", 5),
        left("evt-ch", 6),
        left("ring-ref", 8),
        left("BE-path", 30)
    )
}

/// What `xl` calls the handle is the guest's domain id.
fn disk_line(number: u32, disk: &Device) -> String {
    let Device { id, backend_domid, backend, state, port, rings, .. } = disk;
    format!(
        "{id:<5} {backend_domid:<3} {number:<6} {state:<5} {port:<6} {:<8} {}\n",
        rings[0],
        left(backend, 30)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(rings: Vec<i32>) -> Device {
        Device {
            id: 0,
            backend_domid: backend_domid("/local/domain/2/backend/vif/3/0"),
            backend: "/local/domain/2/backend/vif/3/0".into(),
            state: 4,
            port: 9,
            mac: "00:16:3E:77:00:64".into(),
            rings,
        }
    }

    #[test]
    fn cards_are_listed_in_xls_columns() {
        assert_eq!(
            network_heading(),
            "Idx BE Mac Addr.         handle state evt-ch   tx-/rx-ring-ref BE-path                       \n"
        );
        assert_eq!(
            network_line(&device(vec![768, -1])),
            "0   2  00:16:3e:77:00:64     0     4      9   768/-1          \
             /local/domain/2/backend/vif/3/0\n"
        );
    }

    #[test]
    fn disks_are_listed_in_xls_columns() {
        assert_eq!(
            disk_heading(),
            "Vdev  BE  handle state evt-ch ring-ref BE-path                       \n"
        );
        let disk = Device { id: 51712, backend: "/x".into(), ..device(vec![8]) };
        assert_eq!(
            disk_line(3, &disk),
            "51712 2   3      4     9      8        /x                            \n"
        );
    }
}
