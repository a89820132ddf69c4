//! Numbers as C's `strtol` reads them when it is to find out the base.

/// The number that is all of `text`: decimal, octal after `0`, hexadecimal after `0x`, with blanks
/// and a sign before it if need be.
pub fn parse_number(text: &str) -> Option<i64> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // from_str_radix would take another sign.
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if is_negative { -magnitude } else { magnitude }).ok()
}

#[cfg(test)]
mod tests {
    use super::parse_number;

    #[test]
    fn bases_and_signs() {
        for (text, number) in [
            ("0", 0),
            ("00", 0),
            ("42", 42),
            ("-42", -42),
            ("+7", 7),
            (" \t7", 7),
            ("010", 8),
            ("0x1f", 31),
            ("0X1F", 31),
            ("-0x10", -16),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(parse_number(text), Some(number), "{text}");
        }
    }

    #[test]
    fn everything_else_is_no_number() {
        for text in
            ["", " ", "-", "x", "0x", "08", "1 ", "1x", "--1", "+-1", "0x-1", "0x ", "1.5", "٣"]
        {
            assert_eq!(parse_number(text), None, "{text}");
        }
        assert_eq!(parse_number("9223372036854775808"), None);
        assert_eq!(parse_number(&"9".repeat(1000)), None);
    }
}
