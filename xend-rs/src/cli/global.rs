//! The options before the command: `xl [-vfNtT] COMMAND`.

use std::ffi::OsString;
use std::path::Path;

use super::PROGRAM;
use super::args::{Global, Unresolved};
use super::failure::Failure;
use super::help;

/// What the beginning of a command line asks for.
#[derive(Debug)]
pub(super) enum Start {
    /// A command.
    Command(Unresolved),
    /// `xend --version`.
    Version,
    /// `xend --help`.
    Help,
}

/// Reads the command line up to the command's name.
pub(super) fn read(words: impl IntoIterator<Item = OsString>) -> Result<Start, Failure> {
    let mut words = words.into_iter();
    let own_name = words.next().unwrap_or_default();
    let program = match Path::new(&own_name).file_name() {
        Some(name) if name == "xl" => "xl",
        _ => PROGRAM,
    };
    let mut words = words.map(|word| {
        word.into_string()
            .map_err(|word| Failure::line(format_args!("{} is not UTF-8", word.display())))
    });
    let mut global = Global::default();
    let called = loop {
        let Some(word) = words.next().transpose()? else {
            return Err(Failure::silent().with_help(help::overview(program)));
        };
        match word.as_str() {
            // `xl` knows neither.
            "--version" if program == PROGRAM => return Ok(Start::Version),
            "--help" if program == PROGRAM => return Ok(Start::Help),
            "--" => match words.next().transpose()? {
                Some(word) => break word,
                None => return Err(Failure::silent().with_help(help::overview(program))),
            },
            "-" => break word,
            _ => match word.strip_prefix('-') {
                Some(letters) => take_letters(letters, &own_name.to_string_lossy(), &mut global)?,
                None => break word,
            },
        }
    };
    let words = words.collect::<Result<Vec<_>, _>>()?;
    Ok(Start::Command(Unresolved { program, global, called, words }))
}

fn take_letters(letters: &str, own_name: &str, global: &mut Global) -> Result<(), Failure> {
    for &letter in letters.as_bytes() {
        match letter {
            b'v' => global.verbosity = global.verbosity.saturating_add(1),
            b'N' => global.dry_run = true,
            b't' => global.progress_with_cr = true,
            b'T' => global.timestamps = true,
            // It once made xl run beside another toolstack. It changes nothing there today.
            b'f' => {}
            _ => {
                let text = [
                    own_name.as_bytes(),
                    b": invalid option -- '",
                    &[letter],
                    b"'\nunknown global option\n",
                ];
                return Err(Failure::said(text.concat()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(words: &[&str]) -> Result<Start, Failure> {
        read(words.iter().map(OsString::from))
    }

    #[test]
    fn options_are_taken_up_to_the_command() {
        let Ok(Start::Command(start)) = start(&["/usr/sbin/xl", "-vvt", "-T", "list", "-v"]) else {
            panic!("a command")
        };
        assert_eq!(
            start.global,
            Global { verbosity: 2, dry_run: false, progress_with_cr: true, timestamps: true }
        );
        assert_eq!((start.program, start.called.as_str()), ("xl", "list"));
        assert_eq!(start.words, ["-v"]);
    }

    #[test]
    fn an_unknown_option_is_refused_in_glibcs_words() {
        let expected =
            Failure::said("xl: invalid option -- 'z'\nunknown global option\n").with_status(1);
        assert_eq!(start(&["xl", "-vz", "list"]).unwrap_err(), expected);
        // For getopt without long options these are the letters `-`, `h` and so on.
        let expected = Failure::said("xl: invalid option -- '-'\nunknown global option\n");
        assert_eq!(start(&["xl", "--help"]).unwrap_err(), expected);
        assert!(matches!(start(&["xend", "--help"]), Ok(Start::Help)));
    }

    #[test]
    fn a_dash_is_a_command_and_two_end_the_options() {
        for (words, called) in [(["xl", "-"].as_slice(), "-"), (&["xl", "--", "-v"], "-v")] {
            assert!(matches!(start(words), Ok(Start::Command(start)) if start.called == called));
        }
        assert!(start(&["xl", "--"]).is_err());
    }
}
