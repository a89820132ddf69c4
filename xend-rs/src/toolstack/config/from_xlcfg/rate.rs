//! The rate of a network interface: `10Mb/s`, or `1GB/s@20ms`.

use super::super::NicRate;

const DEFAULT_INTERVAL_US: u32 = 50_000;

/// Reads a rate: a number with `G`, `M` or `K`, then `b/s` for bits or `B/s` for bytes, and after an
/// `@` the interval in `s`, `ms` or `us`.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn parse(text: &str) -> Result<NicRate, String> {
    let (rate, interval) = match text.split_once('@') {
        Some((rate, interval)) => (rate, Some(interval)),
        None => (text, None),
    };
    let bytes_per_s =
        bytes_per_s(rate).ok_or_else(|| format!("rate: '{rate}' is not like 10Mb/s"))?;
    let interval_us = match interval {
        None => DEFAULT_INTERVAL_US,
        Some(interval) => {
            interval_us(interval).ok_or_else(|| format!("rate: '{interval}' is not like 50ms"))?
        }
    };
    let bytes = bytes_per_s.checked_mul(interval_us.into());
    let bytes_per_interval =
        bytes.ok_or_else(|| format!("rate: '{text}' is more than can be counted"))? / 1_000_000;
    Ok(NicRate { bytes_per_interval, interval_us })
}

fn bytes_per_s(text: &str) -> Option<u64> {
    let text = text.strip_suffix("/s")?;
    let (text, divisor) = match text.strip_suffix('b') {
        Some(text) => (text, 8),
        None => (text.strip_suffix('B')?, 1),
    };
    let (text, factor) = scaled(text, [('G', 1_000_000_000), ('M', 1_000_000), ('K', 1_000)]);
    Some(digits(text)? * factor / divisor)
}

fn interval_us(text: &str) -> Option<u32> {
    let text = text.strip_suffix('s').unwrap_or(text);
    let (text, factor) = match text.strip_suffix('u') {
        Some(text) => (text, 1),
        None => match text.strip_suffix('m') {
            Some(text) => (text, 1_000),
            None => (text, 1_000_000),
        },
    };
    u32::try_from(digits(text)? * factor).ok()
}

fn scaled<const N: usize>(text: &str, units: [(char, u64); N]) -> (&str, u64) {
    let unit =
        units.into_iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    unit.unwrap_or((text, 1))
}

/// Digits, with octal after a 0 as C has it; neither 0 nor above 32 bits.
fn digits(text: &str) -> Option<u64> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = crate::toolstack::xlcfg::parse_number(text)?;
    u32::try_from(number).ok().filter(|number| *number != 0).map(u64::from)
}
