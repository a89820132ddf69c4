//! What is done about a guest that has shut down: what its configuration says.

use std::time::Duration;
use std::{fs, thread};

use super::{MonitorError, say, say_error};
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::host::lifecycle::ShutdownReason;
use crate::migration::Cancel;
use crate::toolstack::Host;
use crate::toolstack::config::{Action, DomainConfig};
use crate::toolstack::domain;

/// A guest that shuts down as soon as it runs shall not keep the host busy.
const RESTART_PAUSE: Duration = Duration::from_secs(2);
const DUMP_FOLDER: &str = "/var/lib/xen/dump";

/// What is left to do.
pub(super) enum Next {
    /// It runs again, as this domain.
    Restarted(Domid),
    /// Nothing.
    Done,
}

/// Does it.
pub(super) fn act(host: &Host, domid: Domid, reason: u32) -> Result<Next, MonitorError> {
    let config = domain::stored_config(host, domid)?;
    let action = config.as_ref().map_or(Action::Destroy, |config| action(config, reason));
    say(&format!("Action for shutdown reason code {reason} is {}", action.xlcfg_word()));
    if matches!(action, Action::CoredumpDestroy | Action::CoredumpRestart) {
        dump(host, domid, config.as_ref().map_or("", DomainConfig::name));
    }
    let Some(config) = config else {
        destroy(host, domid)?;
        return Ok(Next::Done);
    };
    match action {
        Action::Preserve => Ok(Next::Done),
        Action::Destroy | Action::CoredumpDestroy => {
            destroy(host, domid)?;
            Ok(Next::Done)
        }
        Action::RenameRestart => {
            let aside = format!("{}-{}", config.name(), time_suffix());
            say(&format!("Preserving domain {} as {aside}", domid.0));
            let next = next_config(host, domid, &config);
            domain::preserve(host, domid, &config, &aside)?;
            restart(host, &next)
        }
        Action::SoftReset => {
            say("A soft reset cannot be had: the guest boots anew");
            let next = next_config(host, domid, &config);
            destroy(host, domid)?;
            restart(host, &next)
        }
        Action::Restart | Action::CoredumpRestart => {
            let next = next_config(host, domid, &config);
            destroy(host, domid)?;
            restart(host, &next)
        }
    }
}

/// What the guest is to be when it starts anew: what `config-update` said, or what it is.
fn next_config(host: &Host, domid: Domid, now: &DomainConfig) -> DomainConfig {
    match domain::updated_config(host, domid) {
        Ok(Some(updated)) => {
            say("\"xl\" configuration found, using it");
            updated
        }
        Ok(None) => now.clone(),
        // Better the guest that was than none.
        Err(error) => {
            say_error(&error);
            now.clone()
        }
    }
}

fn action(config: &DomainConfig, reason: u32) -> Action {
    let actions = config.actions();
    match ShutdownReason::from_xen(reason) {
        Some(ShutdownReason::PowerOff) => actions.poweroff,
        Some(ShutdownReason::Reboot) => actions.reboot,
        Some(ShutdownReason::Crash) => actions.crash,
        Some(ShutdownReason::Watchdog) => actions.watchdog,
        Some(ShutdownReason::SoftReset) => actions.soft_reset,
        Some(ShutdownReason::Suspend) | None => Action::Destroy,
    }
}

fn destroy(host: &Host, domid: Domid) -> Result<(), MonitorError> {
    say(&format!("Domain {} needs to be cleaned up: destroying the domain", domid.0));
    Ok(domain::destroy(host, domid)?)
}

fn restart(host: &Host, config: &DomainConfig) -> Result<Next, MonitorError> {
    say("Done. Rebooting now");
    thread::sleep(RESTART_PAUSE);
    let domid = domain::start(host, config, &Cancel::default())?;
    domain::unpause(host, domid)?;
    Ok(Next::Restarted(domid))
}

fn dump(host: &Host, domid: Domid, name: &str) {
    let path = format!("{DUMP_FOLDER}/{}", name.replace('/', "_"));
    say(&format!("dumping core to {path}"));
    if let Err(error) = fs::create_dir_all(DUMP_FOLDER) {
        say_error(&error);
    }
    // The guest is dead in any case.
    if let Err(error) = host.xen.dump_core(domid, path.as_ref()) {
        say_error(&error);
    }
}

/// Now, as in a name: `20240229T1305Z`.
fn time_suffix() -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}Z")
}

/// The date of a day since 1970, by counting in years that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_days() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_819), (2027, 1, 1));
    }

    #[test]
    fn each_reason_has_its_action() {
        let text = br#"{"c_info":{},"b_info":{},"on_poweroff":"preserve","on_reboot":"restart",
            "on_crash":"coredump_restart","on_watchdog":"restart_rename"}"#;
        let config = DomainConfig::from_json(text).unwrap();
        let actions: Vec<_> = (0..7).map(|reason| action(&config, reason)).collect();
        assert_eq!(
            actions,
            [
                Action::Preserve,
                Action::Restart,
                Action::Destroy,
                Action::CoredumpRestart,
                Action::RenameRestart,
                Action::Destroy,
                Action::Destroy,
            ]
        );
    }
}
