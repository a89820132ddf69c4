//! Which tracker it will be, and why: told before anything is touched.

use std::fmt;

use super::Tracking;
use crate::hypervisor::LogDirtySupport;

/// How a guest's writes are going to be tracked, by what Xen says of itself. Should Xen not keep its
/// word, [`start`](super::start) finds out, and chooses again or refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// The tracker. Never [`Tracking::Auto`].
    pub tracking: Tracking,
    /// Why this one, as a clause.
    pub why: String,
}

/// Log-dirty was asked for, and Xen says that it has none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be tracked by log-dirty, as asked for: {0}; by digest it can")]
pub struct NoLogDirty(pub String);

impl Outlook {
    /// What comes of `wanted` on a Xen that has this.
    ///
    /// # Errors
    /// If Xen does not have what is wanted.
    pub fn new(wanted: Tracking, support: LogDirtySupport) -> Result<Self, NoLogDirty> {
        let (tracking, why) = match (wanted, support) {
            (Tracking::Auto, LogDirtySupport::Available) => {
                (Tracking::LogDirty, "this Xen has that".to_owned())
            }
            (Tracking::Auto, LogDirtySupport::Missing(why)) => (Tracking::Digest, why),
            (Tracking::LogDirty, LogDirtySupport::Missing(why)) => return Err(NoLogDirty(why)),
            (Tracking::Digest, LogDirtySupport::Missing(why)) => {
                (Tracking::Digest, format!("that was asked for, and {why}"))
            }
            (wanted, _) => (wanted, "that was asked for".to_owned()),
        };
        Ok(Self { tracking, why })
    }

    /// Whether it is what nobody has to be told: Xen's own way, for want of another wish.
    pub fn is_usual(&self, wanted: Tracking) -> bool {
        (wanted, self.tracking) == (Tracking::Auto, Tracking::LogDirty)
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = &self.why;
        match self.tracking {
            Tracking::None => write!(f, "the guest is suspended first: {why}"),
            tracking => write!(f, "writes are tracked by {tracking}: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlook(wanted: Tracking, has_log_dirty: bool) -> Result<Outlook, NoLogDirty> {
        let support = match has_log_dirty {
            true => LogDirtySupport::Available,
            false => LogDirtySupport::Missing("this Xen lacks CONFIG_X".to_owned()),
        };
        Outlook::new(wanted, support)
    }

    #[test]
    fn a_wish_is_fulfilled_or_refused_and_without_one_it_is_what_works() {
        for wanted in [Tracking::LogDirty, Tracking::Digest, Tracking::None] {
            assert_eq!(outlook(wanted, true).unwrap().tracking, wanted);
        }
        for wanted in [Tracking::Digest, Tracking::None] {
            assert_eq!(outlook(wanted, false).unwrap().tracking, wanted);
        }
        assert_eq!(outlook(Tracking::Auto, true).unwrap().tracking, Tracking::LogDirty);
        assert_eq!(outlook(Tracking::Auto, false).unwrap().tracking, Tracking::Digest);
        let refused = outlook(Tracking::LogDirty, false).unwrap_err().to_string();
        assert!(refused.contains("log-dirty") && refused.contains("CONFIG_X"), "{refused}");
    }

    #[test]
    fn the_line_names_the_tracker_and_what_is_missing() {
        for wanted in [Tracking::Auto, Tracking::Digest] {
            let outlook = outlook(wanted, false).unwrap();
            let line = outlook.to_string();
            assert!(line.contains("by digest") && line.contains("CONFIG_X"), "{line}");
            assert!(!outlook.is_usual(wanted));
        }
        assert!(outlook(Tracking::Auto, true).unwrap().is_usual(Tracking::Auto));
        assert!(!outlook(Tracking::LogDirty, true).unwrap().is_usual(Tracking::LogDirty));
    }
}
