//! How far a guest's wall clock is from UTC.

use std::process::{Command, Stdio};

use crate::toolstack::config::DomainConfig;

/// Seconds to add to UTC: what the configuration says, and this host's time zone if it is to show
/// local time.
pub(super) fn offset_s(config: &DomainConfig) -> i32 {
    let zone_s = if config.localtime() { zone_s().unwrap_or(0) } else { 0 };
    config.rtc_time_offset_s() + zone_s
}

/// The C library knows the zone, and `date` asks it.
fn zone_s() -> Option<i32> {
    let output = Command::new("date").arg("+%z").stdin(Stdio::null()).output().ok()?;
    parse(std::str::from_utf8(&output.stdout).ok()?.trim())
}

/// Reads `+0530`.
fn parse(zone: &str) -> Option<i32> {
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_at_checked(2)?;
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    Some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_zones() {
        assert_eq!(parse("+0000"), Some(0));
        assert_eq!(parse("+0530"), Some(19_800));
        assert_eq!(parse("-0330"), Some(-12_600));
        assert_eq!(parse("UTC"), None);
        assert_eq!(parse(""), None);
    }
}
