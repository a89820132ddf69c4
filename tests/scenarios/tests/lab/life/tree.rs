//! What xenstore holds of a guest, node by node with permissions, made by `xend` and by stock `xl`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use lab::{GuestSpec, Host};
use scenarios::rig::{ASK, Place};

use super::SLOW;
use crate::world::World;

/// Nodes whose values are another guest's another time: frames, ports of the guest's own, times.
const CHANGING: [&str; 9] = [
    "start_time",
    "ring-ref",
    "tty",
    "event-channel",
    "event-channel-rx",
    "event-channel-tx",
    "rx-ring-ref",
    "tx-ring-ref",
    "unique-id",
];
/// The same for both, so that it is no difference.
const UUID: &str = "2c5b1e7e-1d5a-4c57-9a3e-6f1f0b6c7d10";

pub(super) fn is_stocks(world: &mut World, spec: &GuestSpec) -> Result<()> {
    world.dismiss()?;
    let host = world.rig().host(Place::A);
    // A disk that a script has taken leaves nodes that tell which; the same for both.
    let config = super::put_config(host, spec, &format!("uuid = \"{UUID}\"\n"))?;
    let mut trees = Vec::new();
    for program in ["xl", "xend"] {
        host.run_ok(&format!("{program} create {config}"), SLOW)?;
        trees.push(tree(host, spec).with_context(|| format!("the tree of {program}'s guest"))?);
        host.run_ok(&format!("xl destroy {}", spec.name), SLOW)?;
    }
    let (stock, ours) = (&trees[0], &trees[1]);
    ensure!(stock.len() > 60, "stock's tree has {} nodes only", stock.len());
    let mut differences = Vec::new();
    for path in stock.keys().chain(ours.keys().filter(|path| !stock.contains_key(*path))) {
        let (theirs, ours) = (stock.get(path), ours.get(path));
        if theirs != ours {
            differences.push(format!("{path}: stock has {theirs:?}, xend has {ours:?}"));
        }
    }
    ensure!(differences.is_empty(), "the trees differ:\n{}", differences.join("\n"));
    Ok(())
}

/// Every node of a guest with its value and permissions, once the guest has connected.
fn tree(host: &Host, spec: &GuestSpec) -> Result<BTreeMap<String, String>> {
    let id = host.run_ok(&format!("xl domid {}", spec.name), ASK)?.stdout_text();
    let id = id.trim();
    let guest = lab::Guest::existing(&spec.name, spec.ip);
    let connected = format!(
        "for i in $(seq 600); do \
         [ \"$(xenstore-read /local/domain/{id}/device/vif/0/state)\" = 4 ] && exit 0; sleep 0.1; \
         done; exit 1"
    );
    host.run_ok(&connected, SLOW)?;
    let deadline = std::time::Instant::now() + SLOW;
    while !guest.answers(std::time::Duration::from_secs(1))? {
        ensure!(std::time::Instant::now() < deadline, "the guest does not answer");
    }
    let folders = [
        format!("/local/domain/{id}"),
        format!("/libxl/{id}"),
        format!("/vm/{UUID}"),
        format!("/local/domain/0/backend/vif/{id}"),
        format!("/local/domain/0/backend/vbd/{id}"),
        format!("/local/domain/0/backend/console/{id}"),
    ];
    let mut tree = BTreeMap::new();
    for folder in folders {
        let text = host.run(&format!("xenstore-ls -fp {folder}"), ASK)?.stdout_text();
        tree.extend(text.lines().filter_map(|line| node(line, id)));
    }
    Ok(tree)
}

/// A line of `xenstore-ls -fp`: `PATH = "VALUE"   (PERMISSIONS)`, with the guest's id made the same.
fn node(line: &str, id: &str) -> Option<(String, String)> {
    let (path, rest) = line.split_once(" = ")?;
    let (value, permissions) = rest.rsplit_once('(')?;
    let key = path.rsplit('/').next().unwrap_or_default();
    let value = value.trim_end_matches([' ', '.']);
    let is_id = matches!(key, "domid" | "frontend-id") && value == format!("\"{id}\"");
    let value = match value {
        _ if is_id => "\"ID\"".to_owned(),
        _ if CHANGING.contains(&key) => "changing".to_owned(),
        value => anonymous(value, id),
    };
    let permissions = permissions
        .trim_end_matches(')')
        .split(',')
        .map(|entry| match entry.split_at_checked(1) {
            Some((access, domain)) if domain == id => format!("{access}ID"),
            _ => entry.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(",");
    Some((anonymous(path, id), format!("{value} ({permissions})")))
}

/// Paths with the guest's id in them.
fn anonymous(text: &str, id: &str) -> String {
    let mut text = text.to_owned();
    for before in
        ["/local/domain/", "/libxl/", "backend/vif/", "backend/vbd/", "backend/console/", "vif"]
    {
        for after in ["/", "\"", "."] {
            text = text.replace(&format!("{before}{id}{after}"), &format!("{before}ID{after}"));
        }
        if let Some(start) = text.strip_suffix(&format!("{before}{id}")) {
            text = format!("{start}{before}ID");
        }
    }
    text
}
