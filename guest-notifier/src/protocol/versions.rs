//! Which versions of the protocol there are.

use std::fmt;
use std::ops::RangeInclusive;

use super::fields::{Fields, Unreadable};

/// The versions that this code speaks.
pub const OURS: Versions = Versions { oldest: 1, newest: 1 };

/// A range of versions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    oldest: u16,
    newest: u16,
}

impl Versions {
    /// The versions in a range; `None` if it is empty or begins with 0, which is no version.
    #[must_use]
    pub fn new(range: RangeInclusive<u16>) -> Option<Self> {
        let (oldest, newest) = range.into_inner();
        (0 < oldest && oldest <= newest).then_some(Self { oldest, newest })
    }

    /// The newest that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn contains(self, version: u16) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }

    /// Reads a node.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut fields = Fields::new(bytes)?;
        let oldest = fields.number("oldest version")?;
        let newest = fields.number("newest version")?;
        Self::new(oldest..=newest).ok_or(Unreadable::Bad("range of versions"))
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.oldest, self.newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_one_is_taken() {
        let versions = |range| Versions::new(range).unwrap();
        for (ours, theirs, common) in [
            (versions(1..=1), versions(1..=1), Some(1)),
            (versions(1..=3), versions(2..=9), Some(3)),
            (versions(2..=9), versions(1..=3), Some(3)),
            (versions(1..=1), versions(2..=3), None),
        ] {
            assert_eq!(ours.common(theirs), common, "{ours}, {theirs}");
        }
    }

    #[test]
    fn a_range_must_be_one() {
        let newest = u16::MAX;
        assert_eq!(Versions::parse(b"1 65535").unwrap().common(OURS), Some(1));
        assert_eq!(Versions::parse(format!("2 {newest}").as_bytes()).unwrap().common(OURS), None);
        for bad in ["", "1", "1 ", "0 1", "2 1", "-1 1", "+1 2", "1 65536", "1  2", "a b"] {
            assert!(Versions::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
