//! Saved files that `xend restore` cannot make anything of.

use anyhow::{Context, Result, ensure};
use lab::GuestKind;
use scenarios::rig::ASK;
use scenarios::runner::Scenario;
use scenarios::savefile::{FILE, Head};
use scenarios::traveller::equipped;

use super::{DEADLINE, domains, require_refusal, try_all};
use crate::world::World;

pub(super) const SCENARIOS: &[Scenario<World>] = &[Scenario {
    name: "refused::saved_by_another_version",
    deadline: DEADLINE,
    run: other_versions,
}];

/// More than the headers and the configuration take.
const HEAD_BYTES: usize = 65536;
const DAMAGED: &str = "/dev/shm/damaged";

/// Bytes that take the place of others in a sound file.
struct Patch {
    name: &'static str,
    at: fn(&Head) -> u64,
    bytes: &'static [u8],
    words: &'static [&'static str],
}

const PATCHES: &[Patch] = &[
    Patch { name: "not a saved guest", at: |_| 0, bytes: b"Zen", words: &["save"] },
    // The second word after the magic: flags that have to be understood.
    Patch { name: "xl's flags", at: |_| 36, bytes: &[0, 0, 0, 0x80], words: &["flags"] },
    Patch {
        name: "libxl's version",
        at: |h| h.libxl_at + 8,
        bytes: &[0, 0, 0, 9],
        words: &["version"],
    },
    Patch {
        name: "libxc's version",
        at: |h| h.image_at + 12,
        bytes: &[0, 0, 0, 9],
        words: &["version"],
    },
    Patch { name: "configuration", at: |h| h.config_at, bytes: b"[[[", words: &["configuration"] },
];

fn other_versions(world: &mut World) -> Result<()> {
    let (guest, place) = world.guest(&equipped(GuestKind::Pv))?;
    let host = world.rig().host(place);
    host.run_ok(&format!("xend save {} {FILE}", guest.name()), ASK * 4)?;
    let head = host.run_ok(&format!("head -c {HEAD_BYTES} {FILE}"), ASK)?.stdout;
    let head = Head::of(&head).context("what `xend save` wrote")?;
    let tried = try_all(
        PATCHES,
        |patch| patch.name,
        |patch| {
            host.put_bytes(patch.bytes, "/root/patch", 0o644)?;
            // A hard link would do, were the file not to be written to.
            host.run_ok(
                &format!(
                    "cp {FILE} {DAMAGED} && dd if=/root/patch of={DAMAGED} bs=1 conv=notrunc \
                 seek={} 2>/dev/null",
                    (patch.at)(&head)
                ),
                ASK,
            )?;
            let output = host.run(&format!("xend restore {DAMAGED}"), ASK)?;
            let left = domains(host)?;
            ensure!(left.is_empty(), "there is a domain: {left:?}");
            require_refusal(&output, patch.words)
        },
    );
    host.run_ok(&format!("rm -f {DAMAGED} && xend restore {FILE} && rm {FILE}"), ASK * 4)?;
    tried?;
    world.require_undisturbed(&guest, place)
}
