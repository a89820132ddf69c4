//! Text in columns, as C's printf makes them: widths are in bytes, and what is longer runs over.

/// Like `%-WIDTHs`.
pub(super) fn left(text: &str, width: usize) -> String {
    let blanks = width.saturating_sub(text.len());
    format!("{text}{:blanks$}", "")
}

/// Like `%WIDTHs`.
pub(super) fn right(text: &str, width: usize) -> String {
    let blanks = width.saturating_sub(text.len());
    format!("{:blanks$}{text}", "")
}

/// What C prints for a string that is not there, such as the name of a domain without one.
pub(super) fn or_null(text: Option<String>) -> String {
    text.unwrap_or_else(|| "(null)".to_owned())
}

/// Nanoseconds as seconds, by way of the same types as in `xl`, so that it rounds the same.
pub(super) fn seconds(nanoseconds: u64) -> f64 {
    f64::from(nanoseconds as f32) / 1e9
}

/// The numbers below `count` for which `contains` is true, as ranges: `0-3,5`, `all`, `none`.
/// Some, up to the last one, with the first, are `all`.
pub(super) fn ranges(contains: impl Fn(usize) -> bool, count: usize) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for number in (0..count).filter(|&number| contains(number)) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    if ranges.is_empty() {
        return "none".to_owned();
    }
    if ranges == [(0, count - 1)] {
        return "all".to_owned();
    }
    let range = |(first, last): (usize, usize)| {
        if last > first { format!("{first}-{last}") } else { first.to_string() }
    };
    ranges.into_iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_in_bytes() {
        assert_eq!(left("ä", 4), "ä  ");
        assert_eq!(right("abc", 5), "  abc");
        assert_eq!(left("abcdef", 5), "abcdef");
    }

    #[test]
    fn numbers_are_put_together() {
        let of = |set: &[usize], count| ranges(|number| set.contains(&number), count);
        assert_eq!(of(&[], 4), "none");
        assert_eq!(of(&[0, 1, 2, 3], 4), "all");
        assert_eq!(of(&[0], 1), "all");
        assert_eq!(of(&[0, 1, 3, 5, 6], 8), "0-1,3,5-6");
        assert_eq!(of(&[2, 3], 4), "2-3");
        assert_eq!(of(&[1], 0), "none");
    }

    #[test]
    fn seconds_have_the_precision_of_a_float() {
        assert_eq!(format!("{:8.1}", seconds(12_340_000_000)), "    12.3");
        assert_eq!(format!("{:8.1}", seconds(123_456_789_012_345)), "123456.8");
    }
}
