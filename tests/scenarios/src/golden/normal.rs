//! What is taken out of an output before it is compared.

/// What is not the same in any two runs of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normal {
    /// Nothing: the output is compared as it is.
    Exact,
    /// CPU times, uptimes and times of day; whether a guest is running or blocked just then.
    Times,
    /// Free memory.
    Load,
    /// Not a difference of runs: what `xend migrate` has beyond `xl migrate`, which its help tells after all
    /// that `xl`'s does, and that it can be asked beforehand (`-N`).
    FurtherOptions,
}

impl Normal {
    /// The output without that.
    #[must_use]
    pub fn apply(self, output: &str) -> String {
        match self {
            Self::Exact => output.to_owned(),
            Self::Times => output.split_inclusive('\n').map(without_times).collect(),
            Self::Load => output.split_inclusive('\n').map(without_load).collect(),
            Self::FurtherOptions => {
                let own = output.find("--dry-run ").unwrap_or(output.len());
                output[..own].replacen("[-vtTfN]", "[-vtTf]", 1).trim_end().to_owned()
            }
        }
    }
}

/// What Xen's libraries log has source files and lines of libxl in it; where they do, `xend` says
/// why in a line of its own. Some of their messages have a line break of their own besides.
pub(super) fn without_log(stderr: &str, log: &[&str]) -> String {
    let mut text = String::new();
    let mut after_log = false;
    for line in stderr.split_inclusive('\n') {
        let is_log = log.iter().any(|start| line.starts_with(start));
        let is_its_rest = after_log && line == "\n";
        if !is_log && !is_its_rest {
            text.push_str(line);
        }
        after_log = is_log;
    }
    text
}

/// A word that can only be a time is replaced, with the blanks before it, since columns are filled
/// up to the right. The first two letters of a state, running and blocked, are taken out.
fn without_times(line: &str) -> String {
    let mut text = String::new();
    for word in line.split_inclusive(' ') {
        let bare = word.trim_end();
        if is_time(bare) {
            text.truncate(text.trim_end_matches(' ').len());
            text.push_str(" T");
            text.push_str(&word[bare.len()..]);
        } else if is_state(bare) {
            text.push_str(&word.replace(['r', 'b'], "-"));
        } else {
            text.push_str(word);
        }
    }
    text
}

/// `12.3` or `0:01:02`, perhaps with a comma.
fn is_time(word: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let word = word.trim_end_matches(',');
    let seconds = word
        .split_once('.')
        .is_some_and(|(whole, tenth)| number(whole) && number(tenth) && tenth.len() == 1);
    let clock = word.contains(':') && word.split(':').all(|part| number(part) && part.len() <= 2);
    seconds || clock
}

/// `-b----` of a domain, `-b-` of a vCPU.
fn is_state(word: &str) -> bool {
    matches!(word.len(), 3 | 6) && word.chars().all(|c| "rbp-sScwd?".contains(c))
}

fn without_load(line: &str) -> String {
    // The node's line of `info -n` has free memory as well.
    let node = line.trim_start().starts_with("0:") && line.split_whitespace().count() == 4;
    match line.split_once(':') {
        Some((name, _)) if name.trim() == "free_memory" => format!("{name}: M\n"),
        Some((name, _)) if node && line.contains("      10") => format!("{name}: M\n"),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_options_come_after_those_of_xl() {
        let xl = "Usage: xl [-vtTf] migrate\n\n-D              Preserve the domain id\n\n";
        let ours = "Usage: xl [-vtTfN] migrate\n\n-D              Preserve the domain id\n\
                    --dry-run       Only ask.\n\n";
        let applied = |text| Normal::FurtherOptions.apply(text);
        assert_eq!(applied(ours), applied(xl));
        assert_ne!(applied(&ours.replace("-D  ", "-E  ")), applied(xl));
    }

    #[test]
    fn times_are_taken_out_and_nothing_else() {
        let list =
            "traveller                                    3   128     1     -b----       2.5\n";
        let other =
            "traveller                                    3   128     1     r-----      12.5\n";
        assert_eq!(Normal::Times.apply(list), Normal::Times.apply(other));
        let paused =
            "traveller                                    3   128     1     --p---      12.5\n";
        assert_ne!(Normal::Times.apply(list), Normal::Times.apply(paused));
        let up = "traveller                            3  0:01:02\n";
        assert_eq!(Normal::Times.apply(up), Normal::Times.apply(&up.replace("1:02", "2:59")));
        assert_ne!(Normal::Times.apply(up), Normal::Times.apply(&up.replace('3', "4")));
    }

    #[test]
    fn logs_are_taken_out() {
        let text = "libxl: error: x.c:1:f: Domain 9:no\n\ndestroy failed (rc=-3)\n\n";
        assert_eq!(without_log(text, &["libxl: "]), "destroy failed (rc=-3)\n\n");
    }
}
