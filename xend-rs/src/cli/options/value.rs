//! What the value of an option means: a number within bounds, an amount of something, a word.
//!
//! For options that `xl` does not have. Those that it has read numbers as C does, and answer in
//! `xl`'s words.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::Given;
use crate::cli::failure::Failure;

impl Given<'_> {
    /// As a number within bounds.
    ///
    /// # Errors
    /// If it is none: one line that names the option and the bounds.
    pub(in crate::cli) fn number<T>(&self, bounds: RangeInclusive<T>) -> Result<T, Failure>
    where
        T: FromStr + PartialOrd + Display,
    {
        let (least, most) = (bounds.start(), bounds.end());
        let expected = format!("a number from {least} to {most} was expected");
        self.number_or(bounds, &expected)
    }

    /// As an amount within bounds, in a unit that is named in the plural.
    ///
    /// # Errors
    /// If it is none: one line that names the option, the bounds and the unit.
    pub(in crate::cli) fn amount<T>(
        &self,
        bounds: RangeInclusive<T>,
        unit: &str,
    ) -> Result<T, Failure>
    where
        T: FromStr + PartialOrd + Display,
    {
        let (least, most) = (bounds.start(), bounds.end());
        let expected = format!("{least} to {most} {unit} were expected");
        self.number_or(bounds, &expected)
    }

    /// As a number within bounds so wide that they need not be said: `expected` says what is wanted.
    ///
    /// # Errors
    /// If it is none: one line that names the option and says that.
    pub(in crate::cli) fn number_or<T>(
        &self,
        bounds: RangeInclusive<T>,
        expected: &str,
    ) -> Result<T, Failure>
    where
        T: FromStr + PartialOrd,
    {
        match self.value.parse() {
            Ok(number) if bounds.contains(&number) => Ok(number),
            _ => Err(self.refused(format_args!(" {}: {expected}", self.value))),
        }
    }

    /// As one of the words that such a thing is named by.
    ///
    /// # Errors
    /// If it is none of them: one line that names the option, and them if the error does.
    pub(in crate::cli) fn word<T>(&self) -> Result<T, Failure>
    where
        T: FromStr<Err: Display>,
    {
        self.value.parse().map_err(|error| self.refused(format_args!(": {error}")))
    }

    /// A line that begins with the option.
    fn refused(&self, text: impl Display) -> Failure {
        match self.name {
            "" => Failure::line(format_args!("-{}{text}", char::from(self.letter))),
            name => Failure::line(format_args!("--{name}{text}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::Tracking;

    fn given<'a>(name: &'static str, value: &'a str) -> Given<'a> {
        Given { letter: 1, name, value }
    }

    #[test]
    fn numbers_are_taken_within_their_bounds() {
        assert_eq!(given("seconds", "60").number(1..=3600), Ok(60));
        assert_eq!(given("seconds", "60").amount(60..=60_u8, "seconds"), Ok(60));
        for text in ["0", "3601", "-1", "x", "", "1.5"] {
            let given = given("seconds", text);
            for (error, said) in [
                (given.number(1..=3600_u64), "a number from 1 to 3600 was expected"),
                (given.amount(1..=3600, "seconds"), "1 to 3600 seconds were expected"),
                (given.number_or(1..=3600, "not so many"), "not so many"),
            ] {
                let said = format!("--seconds {text}: {said}");
                assert_eq!(error.unwrap_err(), Failure::line(said));
            }
        }
    }

    #[test]
    fn an_option_is_named_as_it_was_given() {
        let error = Given { letter: b'w', name: "", value: "x" }.number(0..=9).unwrap_err();
        assert_eq!(error, Failure::line("-w x: a number from 0 to 9 was expected"));
    }

    #[test]
    fn a_word_is_known_or_refused_by_name() {
        assert_eq!(given("tracking", "log-dirty").word(), Ok(Tracking::LogDirty));
        assert_eq!(
            given("tracking", "magic").word::<Tracking>(),
            Err(Failure::line(
                "--tracking: \"magic\" is no way to track writes: auto, log-dirty, digest or none"
            ))
        );
    }
}
