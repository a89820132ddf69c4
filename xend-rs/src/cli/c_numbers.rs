//! Numbers as the C library reads them: blanks before and anything after are no mistake.

/// As `strtol`, in base 10: the number, and what follows it. The rest is all of the text when there
/// is no number. Too large ones become the largest.
pub(super) fn strtol(text: &str) -> (i64, &str) {
    let blank = |c: char| matches!(c, ' ' | '\t'..='\r');
    let start = text.trim_start_matches(blank);
    let (negative, digits) = match start.as_bytes().first() {
        Some(b'-') => (true, &start[1..]),
        Some(b'+') => (false, &start[1..]),
        _ => (false, start),
    };
    let end = digits.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 {
        return (0, text);
    }
    let value = digits[..end].bytes().fold(0i64, |value, digit| {
        let digit = i64::from(digit - b'0');
        let digit = if negative { -digit } else { digit };
        value.saturating_mul(10).saturating_add(digit)
    });
    (value, &digits[end..])
}

/// As `strtoul`, in base 10. A minus sign wraps around.
pub(super) fn strtoul(text: &str) -> (u64, &str) {
    let (value, rest) = strtol(text);
    if value < i64::MAX {
        return (value as u64, rest);
    }
    // Between the largest of both kinds.
    let digits = &text[..text.len() - rest.len()];
    (digits.trim().trim_start_matches('+').parse().unwrap_or(u64::MAX), rest)
}

/// As `atoi`.
pub(super) fn atoi(text: &str) -> i32 {
    strtol(text).0 as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        assert_eq!(strtol(" 12abc"), (12, "abc"));
        assert_eq!(strtol("-7"), (-7, ""));
        assert_eq!(strtol("abc"), (0, "abc"));
        assert_eq!(strtol("-"), (0, "-"));
        assert_eq!(strtol(""), (0, ""));
        assert_eq!(strtol("99999999999999999999x"), (i64::MAX, "x"));
        assert_eq!(strtol("-99999999999999999999"), (i64::MIN, ""));
    }

    #[test]
    fn unsigned_numbers_wrap_and_saturate() {
        assert_eq!(strtoul("-1"), (u64::MAX, ""));
        assert_eq!(strtoul("18446744073709551615"), (u64::MAX, ""));
        assert_eq!(strtoul("9223372036854775808k"), (1 << 63, "k"));
        assert_eq!(strtoul("99999999999999999999"), (u64::MAX, ""));
        assert_eq!(atoi("12x"), 12);
    }
}
