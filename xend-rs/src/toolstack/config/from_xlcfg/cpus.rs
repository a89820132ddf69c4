//! Sets of processors: `0-3,^1`, `all`, `nodes:0`.

use std::collections::BTreeSet;

use super::super::HostCpus;

/// What a set may hold where the host is not known.
const ANY_HOST_CPUS: u32 = 1024;

/// Reads a set, in which later parts change what earlier ones said. Processors that the host does
/// not have are left out, as libxl does.
///
/// # Errors
/// What is wrong with it, in words.
pub(in crate::toolstack::config) fn parse(
    text: &str,
    host: Option<&HostCpus>,
) -> Result<BTreeSet<u32>, String> {
    let mut cpus = BTreeSet::new();
    // libxl's bitmaps have whole bytes.
    let limit = host.map_or(ANY_HOST_CPUS, |host| host.count.next_multiple_of(8));
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (is_taken_out, rest) = match part.strip_prefix('^') {
            Some(rest) => (true, rest),
            None => (false, part),
        };
        let nodes = rest.strip_prefix("nodes:").or_else(|| rest.strip_prefix("node:"));
        let range = nodes.unwrap_or(rest);
        if range == "all" {
            if is_taken_out {
                return Err(format!("'{part}': ^ and all do not go together"));
            }
            host.ok_or_else(|| unknown_host(part))?;
            cpus.extend(0..limit);
            continue;
        }
        let (first, last) = parse_range(range)
            .ok_or_else(|| format!("'{part}' is neither a processor nor a range of them"))?;
        let chosen: Vec<u32> = if nodes.is_some() {
            let host = host.ok_or_else(|| unknown_host(part))?;
            // A node that is not there is an error to libxl too.
            let of_node = |node: u32| host.nodes.get(usize::try_from(node).ok()?);
            let last_node = u32::try_from(host.nodes.len()).unwrap_or(u32::MAX).saturating_sub(1);
            if last > last_node {
                return Err(format!("'{part}': the host has no such node"));
            }
            (first..=last).filter_map(of_node).flatten().copied().collect()
        } else {
            (first..=last.min(limit.saturating_sub(1))).collect()
        };
        if is_taken_out {
            chosen.iter().for_each(|cpu| _ = cpus.remove(cpu));
        } else {
            cpus.extend(chosen.into_iter().filter(|cpu| *cpu < limit));
        }
    }
    Ok(cpus)
}

fn unknown_host(part: &str) -> String {
    format!("'{part}' needs the host's processors, which are not known here")
}

/// `3`, or `3-5`.
fn parse_range(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if is_number { text.parse().ok() } else { None }
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some((first, last))
}
