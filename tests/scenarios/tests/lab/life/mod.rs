//! The life of a guest that `xend` makes: its xenstore tree, its end and its next beginning, and
//! what is refused.

mod actions;
mod files;
mod late;
mod refusals;
mod saves;
mod starts;
mod stock;
mod tree;

use std::time::Duration;

use anyhow::Result;
use lab::{GuestKind, GuestSpec, Host};
use scenarios::runner::Scenario;
use scenarios::traveller::{equipped, small};

use crate::world::World;

const DEADLINE: Duration = Duration::from_secs(300);
/// For what may wait for a guest to boot or to shut down.
const SLOW: Duration = Duration::from_secs(120);

pub(crate) const SCENARIOS: &[Scenario<World>] = &[
    Scenario {
        name: "life::tree::of_a_pv_guest_is_as_stock_writes_it",
        deadline: DEADLINE,
        run: |world| tree::is_stocks(world, &equipped(GuestKind::Pv)),
    },
    Scenario {
        name: "life::tree::of_a_pvh_guest_is_as_stock_writes_it",
        deadline: DEADLINE,
        run: |world| tree::is_stocks(world, &small(GuestKind::Pvh)),
    },
    Scenario {
        name: "life::stock::manages_our_pv_guest",
        deadline: DEADLINE,
        run: |world| stock::manages_ours(world, &equipped(GuestKind::Pv)),
    },
    Scenario {
        name: "life::stock::manages_our_pvh_guest",
        deadline: DEADLINE,
        run: |world| stock::manages_ours(world, &small(GuestKind::Pvh)),
    },
    Scenario {
        name: "life::end::reboot_and_poweroff",
        deadline: DEADLINE,
        run: actions::reboot_and_poweroff,
    },
    Scenario { name: "life::end::crash", deadline: DEADLINE, run: actions::crash },
    Scenario { name: "life::end::core", deadline: DEADLINE, run: actions::core },
    Scenario { name: "life::end::preserved", deadline: DEADLINE, run: actions::preserved },
    Scenario { name: "life::end::renamed", deadline: DEADLINE, run: actions::renamed },
    Scenario { name: "life::start::console", deadline: DEADLINE, run: starts::console },
    Scenario { name: "life::start::foreground", deadline: DEADLINE, run: starts::foreground },
    Scenario { name: "life::start::updated", deadline: DEADLINE, run: starts::updated },
    Scenario { name: "life::files::disk", deadline: DEADLINE, run: files::disk },
    Scenario { name: "life::files::travel", deadline: DEADLINE, run: files::travel },
    Scenario { name: "life::saved::by_pipe", deadline: DEADLINE, run: saves::by_pipe },
    Scenario { name: "life::saved::killed", deadline: DEADLINE, run: saves::killed },
    Scenario { name: "life::suspends_late", deadline: DEADLINE, run: late::suspends },
    Scenario { name: "life::refused", deadline: DEADLINE, run: refusals::refused },
];

/// Where the configuration of a guest is kept.
fn config_path(spec: &GuestSpec) -> String {
    format!("/root/{}.cfg", spec.name)
}

/// Puts a guest's configuration into a Dom0, and says where.
fn put_config(host: &Host, spec: &GuestSpec, more: &str) -> Result<String> {
    let path = config_path(spec);
    host.put_bytes(format!("{}{more}", spec.xl_config()).as_bytes(), &path, 0o644)?;
    Ok(path)
}
