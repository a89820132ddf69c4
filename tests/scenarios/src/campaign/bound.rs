//! What a campaign wants of a figure, and whether it was reached. A miss is a measurement, no error.

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wanted {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Wanted {
    fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

/// One line of a result: what was measured, what was wanted, and whether that was reached.
pub(super) fn told(what: &str, value: f64, digits: usize, wanted: Wanted) -> String {
    let wish = match wanted {
        Wanted::AtMost(most) => format!("at most {most}"),
        Wanted::AtLeast(least) => format!("at least {least}"),
    };
    let end = if wanted.is_reached(value) { "reached" } else { "missed" };
    format!("- {what}: {value:.digits$}, {wish} was wanted: {end}\n")
}

/// The same where it was to be so each time.
pub(super) fn told_of_all(what: &str, reached: usize, of: usize) -> String {
    let end = if reached == of { "reached" } else { "missed" };
    format!("- {what}: {reached} of {of}, all were wanted: {end}\n")
}

#[cfg(test)]
mod tests {
    use super::{Wanted, told, told_of_all};

    #[test]
    fn a_bound_itself_is_within() {
        let line = told("ratio", 0.5, 2, Wanted::AtMost(0.5));
        assert_eq!(line, "- ratio: 0.50, at most 0.5 was wanted: reached\n");
        let line = told("rate", 0.899, 2, Wanted::AtLeast(0.9));
        assert_eq!(line, "- rate: 0.90, at least 0.9 was wanted: missed\n");
        assert!(told_of_all("stops", 3, 3).ends_with("reached\n"));
        assert!(told_of_all("stops", 2, 3).ends_with("missed\n"));
        assert!(!Wanted::AtMost(1.0).is_reached(f64::NAN));
    }
}
