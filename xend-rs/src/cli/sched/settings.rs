//! Settings of a scheduler in a CPU pool.

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::error_line::error_line;
use crate::hypervisor::HypervisorError;
use crate::hypervisor::xen::host::scheduler::{CreditSettings, RATELIMIT_US, Scheduler};
use crate::toolstack::Host;

/// Settings to be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) tslice_ms: Option<i32>,
    pub(super) ratelimit_us: Option<i32>,
    pub(super) migration_delay_us: Option<i32>,
}

pub(super) fn print_settings(
    host: &Host,
    scheduler: Scheduler,
    pool: u32,
    name: &str,
) -> Result<(), Failure> {
    let text = if scheduler == Scheduler::CREDIT {
        host.xen.credit_settings(pool).map(|settings| credit_text(&settings))
    } else {
        host.xen.credit2_ratelimit_us(pool).map(|limit| format!("ratelimit={limit}us"))
    };
    let text = text.unwrap_or_else(|error| {
        output::warn(format!("xend: {}\n{}", error_line(&error), get_failed(scheduler)));
        "[sched params unavailable]".to_owned()
    });
    output::print(format!("Cpupool {name}: {text}\n"))
}

fn credit_text(settings: &CreditSettings) -> String {
    let CreditSettings { tslice_ms, ratelimit_us, migration_delay_us } = settings;
    format!(
        "tslice={tslice_ms}ms ratelimit={ratelimit_us}us migration-delay={migration_delay_us}us"
    )
}

fn get_failed(scheduler: Scheduler) -> String {
    format!("libxl_sched_{}_params_get failed.\n", scheduler.name().unwrap_or_default())
}

fn set_failed(scheduler: Scheduler) -> String {
    format!("libxl_sched_{}_params_set failed.\n", scheduler.name().unwrap_or_default())
}

impl Change {
    /// Whether nothing is to be changed.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn apply(
        &self,
        host: &Host,
        scheduler: Scheduler,
        pool: u32,
    ) -> Result<(), Failure> {
        let failed = |why: String| Failure::line(why).and_said(set_failed(scheduler));
        let refused = |error: HypervisorError| failed(error_line(&error));
        if scheduler == Scheduler::CREDIT {
            let current = host.xen.credit_settings(pool).map_err(|error| {
                Failure::line(error_line(&error)).and_said(get_failed(scheduler))
            })?;
            let settings = self.credit(current).map_err(failed)?;
            return host.xen.set_credit_settings(pool, settings).map_err(refused);
        }
        let Some(limit) = self.ratelimit_us else { return Ok(()) };
        let limit = ratelimit(limit).map_err(failed)?;
        host.xen.set_credit2_ratelimit_us(pool, limit).map_err(refused)
    }

    /// The error says what is not possible.
    fn credit(&self, current: CreditSettings) -> Result<CreditSettings, String> {
        let mut new = current;
        if let Some(slice) = self.tslice_ms {
            new.tslice_ms = bounded("time slice", slice, &CreditSettings::TSLICE_MS, "ms")?;
        }
        if let Some(limit) = self.ratelimit_us {
            new.ratelimit_us = ratelimit(limit)?;
        }
        if let Some(delay) = self.migration_delay_us {
            let bounds = 0..=CreditSettings::MAX_MIGRATION_DELAY_US;
            new.migration_delay_us = bounded("migration delay", delay, &bounds, "us")?;
        }
        if u64::from(new.ratelimit_us) > u64::from(new.tslice_ms) * 1000 {
            return Err("the rate limit cannot be longer than the time slice".to_owned());
        }
        Ok(new)
    }
}

fn ratelimit(limit: i32) -> Result<u32, String> {
    if limit == 0 { Ok(0) } else { bounded("rate limit", limit, &RATELIMIT_US, "us") }
}

fn bounded(
    what: &str,
    value: i32,
    bounds: &std::ops::RangeInclusive<u32>,
    unit: &str,
) -> Result<u32, String> {
    let good = u32::try_from(value).ok().filter(|value| bounds.contains(value));
    good.ok_or_else(|| {
        let (low, high) = (bounds.start(), bounds.end());
        format!("a {what} of {value} {unit} is not possible: it is {low} to {high} {unit}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_bounded() {
        let current = CreditSettings { tslice_ms: 30, ratelimit_us: 1000, migration_delay_us: 0 };
        let change = Change { tslice_ms: Some(5), ..Change::default() };
        let new = change.credit(current).expect("possible");
        assert_eq!(credit_text(&new), "tslice=5ms ratelimit=1000us migration-delay=0us");
        for (tslice_ms, ratelimit_us) in [(Some(0), None), (Some(1), Some(1001)), (None, Some(99))]
        {
            let change = Change { tslice_ms, ratelimit_us, migration_delay_us: None };
            assert!(change.credit(current).is_err());
        }
        assert_eq!(ratelimit(0), Ok(0));
        assert!(ratelimit(-1).is_err());
    }
}
