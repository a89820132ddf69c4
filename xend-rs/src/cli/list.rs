//! `xend list`, `vm-list` and `claims`: the domains of this host.

mod long;

use std::fmt::Write;
use std::process::ExitCode;

use super::args::Args;
use super::columns::{left, or_null, ranges, right, seconds};
use super::failure::Failure;
use super::options::Long;
use super::{domains, help, output};
use crate::hypervisor::types::PAGE_SIZE;
use crate::hypervisor::xen::host::domains::ListedDomain;
use crate::hypervisor::xen::xenstore::Nodes;
use crate::toolstack::Host;
use crate::toolstack::config::Uuid;
use crate::toolstack::domain::names;

const LONG: &[Long] = &[
    Long::flag("long", b'l'),
    Long::flag("verbose", b'v'),
    Long::flag("context", b'Z'),
    Long::flag("cpupool", b'c'),
    Long::flag("numa", b'n'),
];

/// The columns beyond the first.
#[derive(Clone, Copy, Debug, Default)]
struct Columns {
    verbose: bool,
    context: bool,
    claim: bool,
    cpupool: bool,
    numa: bool,
}

/// A line of the list.
#[derive(Clone, Debug)]
struct Row {
    domain: ListedDomain,
    name: String,
    label: Option<String>,
    cpupool: String,
    /// The nodes it is bound to, as ranges.
    nodes: String,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut columns = Columns::default();
    let mut long = false;
    let mut options = args.options("lvZcn", LONG);
    while let Some(option) = options.next()? {
        match option.letter {
            b'l' => long = true,
            b'v' => columns.verbose = true,
            b'Z' => columns.context = true,
            b'c' => columns.cpupool = true,
            _ => columns.numa = true,
        }
    }
    let operands = options.operands(0)?;
    let host = Host::open()?;
    let domains = match operands[..] {
        [] => host.xen.domains()?,
        [wanted] => vec![one(&host, wanted)?],
        _ => {
            let usage = help::usage(args.program, args.command);
            return Err(Failure::silent().with_help(usage));
        }
    };
    if long {
        long::print(&host, &domains)?;
    } else {
        print(&host, columns, &domains)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is claimed for each domain.
pub(super) fn claims(args: &Args) -> Result<ExitCode, Failure> {
    args.operands(0)?;
    let host = Host::open()?;
    let columns = Columns { claim: true, ..Columns::default() };
    print(&host, columns, &host.xen.domains()?)?;
    Ok(ExitCode::SUCCESS)
}

/// UUIDs, ids and names.
pub(super) fn vm_list(args: &Args) -> Result<ExitCode, Failure> {
    args.operands(0)?;
    let host = Host::open()?;
    let mut text = "UUID                                  ID    name\n".to_owned();
    for domain in virtual_machines(&host)? {
        let name = left(&or_null(names::name(&host, domain.domid)?), 30);
        let _ = writeln!(text, "{}  {}    {name}", Uuid(domain.uuid), domain.domid.0);
    }
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// All domains but those that only serve as another's device model.
pub(super) fn virtual_machines(host: &Host) -> Result<Vec<ListedDomain>, Failure> {
    let mut machines = Vec::new();
    for domain in host.xen.domains()? {
        let target = host.store.read(&format!("{}/target", names::path(domain.domid)))?;
        let serves = target.is_some_and(|target| super::c_numbers::strtol(&target).1.is_empty());
        if !serves {
            machines.push(domain);
        }
    }
    Ok(machines)
}

fn one(host: &Host, wanted: &str) -> Result<ListedDomain, Failure> {
    let number = domains::find(host, wanted)?;
    host.xen
        .listed_domain(domains::domid(number))?
        .ok_or_else(|| Failure::said(format!("Error: Domain '{wanted}' does not exist.\n")))
}

fn print(host: &Host, columns: Columns, domains: &[ListedDomain]) -> Result<(), Failure> {
    let node_count = if columns.numa { host.xen.phys_info()?.nodes as usize } else { 0 };
    let mut text = heading(columns);
    for domain in domains {
        let nodes = if columns.numa {
            let nodes = host.xen.node_affinity(domain.domid)?;
            ranges(|node| nodes.contains(node), node_count)
        } else {
            String::new()
        };
        let pool = format!("/local/pool/{}/name", domain.cpupool);
        let row = Row {
            name: or_null(names::name(host, domain.domid)?),
            label: host.xen.security_label(domain.security_id),
            cpupool: or_null(host.store.read(&pool)?),
            nodes,
            domain: *domain,
        };
        text.push_str(&line(columns, &row));
    }
    output::print(text)
}

fn heading(columns: Columns) -> String {
    let mut text =
        "Name                                        ID   Mem VCPUs\tState\tTime(s)".to_owned();
    if columns.verbose {
        text.push_str("   UUID                            Reason-Code\tSecurity Label");
    } else if columns.context {
        text.push_str("   Security Label");
    }
    if columns.claim {
        text.push_str("  Claimed");
    }
    if columns.cpupool {
        text.push_str("         Cpupool");
    }
    if columns.numa {
        text.push_str(" NODE Affinity");
    }
    text.push('\n');
    text
}

fn line(columns: Columns, row: &Row) -> String {
    let Row { domain, name, label, cpupool, nodes } = row;
    let mib = |pages: u64| pages * (PAGE_SIZE as u64 / 1024) / 1024;
    let mut text = format!(
        "{} {:5} {:5} {:5}     {}  {:8.1}",
        left(name, 40),
        domain.domid.0,
        mib(domain.total_pages + domain.outstanding_pages),
        domain.online_vcpus,
        state(domain),
        seconds(domain.cpu_time_ns),
    );
    if columns.verbose {
        let reason = match domain.shutdown_reason {
            Some(reason) => format!("{reason:x}"),
            None => "-".to_owned(),
        };
        let _ = write!(text, " {} {}", Uuid(domain.uuid), right(&reason, 8));
    }
    if columns.claim {
        let _ = write!(text, " {:5}", mib(domain.outstanding_pages));
    }
    if columns.verbose || columns.context {
        let _ = write!(text, " {}", right(label.as_deref().unwrap_or("-"), 16));
    }
    if columns.cpupool {
        text.push_str(&right(cpupool, 16));
    }
    if columns.numa {
        let _ = write!(text, " {nodes}");
    }
    text.push('\n');
    text
}

/// Six letters: running, blocked, paused, shut down, why, dying.
fn state(domain: &ListedDomain) -> String {
    let letter = |set, letter| if set { letter } else { '-' };
    let reason = domain.shutdown_reason.map_or('-', |reason| {
        ['-', 'r', 's', 'c', 'w', 'S'].get(reason as usize).copied().unwrap_or('?')
    });
    [
        letter(domain.is_running, 'r'),
        letter(domain.is_blocked, 'b'),
        letter(domain.is_paused, 'p'),
        letter(domain.shutdown_reason.is_some(), 's'),
        reason,
        letter(domain.is_dying, 'd'),
    ]
    .iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::types::Domid;

    fn row() -> Row {
        let domain = ListedDomain {
            domid: Domid(7),
            uuid: *b"0123456789abcdef",
            is_hvm: false,
            is_running: false,
            is_blocked: true,
            is_paused: true,
            is_dying: false,
            is_xenstore: false,
            shutdown_reason: None,
            total_pages: 32768,
            outstanding_pages: 256,
            max_pages: 40000,
            cpu_time_ns: 1_250_000_000,
            online_vcpus: 1,
            max_vcpu_id: Some(0),
            cpupool: 0,
            security_id: 0,
        };
        let (name, cpupool) = ("guest".into(), "Pool-0".into());
        Row { domain, name, label: None, cpupool, nodes: "all".into() }
    }

    #[test]
    fn a_plain_list_has_six_columns() {
        let columns = Columns::default();
        assert_eq!(
            heading(columns),
            "Name                                        ID   Mem VCPUs\tState\tTime(s)\n"
        );
        assert_eq!(
            line(columns, &row()),
            "guest                                        7   129     1     -bp---       1.2\n"
        );
    }

    #[test]
    fn more_columns_come_in_xls_order() {
        let mut row = row();
        row.domain.shutdown_reason = Some(2);
        let columns =
            Columns { verbose: true, context: true, claim: false, cpupool: true, numa: true };
        assert!(line(columns, &row).ends_with(
            " -bpss-       1.2 30313233-3435-3637-3839-616263646566        2                -\
             \x20         Pool-0 all\n"
        ));
        let columns = Columns { claim: true, context: true, ..Columns::default() };
        assert!(line(columns, &row).ends_with("       1.2     1                -\n"));
        assert!(heading(columns).ends_with("Time(s)   Security Label  Claimed\n"));
    }

    #[test]
    fn each_reason_has_its_letter() {
        let mut row = row();
        for (reason, expected) in [(0, "-bps--"), (1, "-bpsr-"), (5, "-bpsS-"), (255, "-bps?-")] {
            row.domain.shutdown_reason = Some(reason);
            assert_eq!(state(&row.domain), expected);
        }
    }
}
