//! Runs command lines with stock `xl` and with `xend` called `xl`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Host;

use super::Line;
use super::normal::without_log;
use crate::toolstack::XEND_AS_XL;

/// Where stock `xl` is.
const STOCK: &str = "/usr/lib/xen-4.17/bin";
const SCRIPT: &str = "/lab/golden/run";
/// Where the answers are gathered.
const ANSWERS: &str = "/tmp/golden";
/// Each answer is three files: what was printed, what was said, and the exit status.
const PARTS: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(300);

/// What a program answered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    stdout: String,
    stderr: String,
    status: String,
}

/// The answers of both to one line.
#[derive(Debug)]
pub struct Answers {
    stock: Answer,
    ours: Answer,
}

/// All lines, one after the other, each with the one and then with the other.
///
/// # Errors
/// When the host does not run them.
pub fn run(host: &Host, lines: &[Line]) -> Result<Vec<Answers>> {
    let script = script(lines, [STOCK, XEND_AS_XL], ANSWERS);
    host.put_bytes(script.as_bytes(), SCRIPT, 0o755)?;
    answers(&host.run_ok(SCRIPT, TIMEOUT)?.stdout, lines.len())
}

fn answers(output: &[u8], lines: usize) -> Result<Vec<Answers>> {
    let parts = parts(output)?;
    let wanted = lines * 2 * PARTS;
    ensure!(parts.len() == wanted, "the script has printed {} parts of {wanted}", parts.len());
    let mut parts = parts.into_iter();
    let mut answer = || -> Result<Answer> {
        let mut part = || parts.next().context("too few parts");
        Ok(Answer { stdout: part()?, stderr: part()?, status: part()? })
    };
    (0..lines).map(|_| Ok(Answers { stock: answer()?, ours: answer()? })).collect()
}

/// Keeps the answers of the `xl` in each of two folders, the one's first, and prints them at the end: the
/// lengths of all parts in order and their sum, a line each, and then the parts. A program for each part
/// adds up, on an emulated processor.
fn script(lines: &[Line], folders: [&str; 2], answers: &str) -> String {
    let mut script = "#!/bin/sh\n\
        path=$PATH\n\
        rm -rf ANSWERS\n\
        mkdir -p ANSWERS || exit 1\n\
        at=100000\n\
        both() {\n\
        \x20 for bin in FIRST SECOND; do\n\
        \x20   at=$((at + 1))\n\
        \x20   PATH=$bin:$path sh -c \"$1\" >ANSWERS/$at-1 2>ANSWERS/$at-2 </dev/null\n\
        \x20   echo $? >ANSWERS/$at-3\n\
        \x20 done\n\
        }\n"
    .replace("ANSWERS", answers)
    .replace("FIRST", folders[0])
    .replace("SECOND", folders[1]);
    for line in lines {
        let quoted = line.command.replace('\'', "'\\''");
        script.push_str(&format!("both '{quoted}'\n"));
    }
    script.push_str(&format!("cd {answers} && wc -c * && cat *\n"));
    script
}

fn parts(output: &[u8]) -> Result<Vec<String>> {
    let (mut lengths, mut rest) = (Vec::new(), output);
    let sum = loop {
        let end = rest.iter().position(|&byte| byte == b'\n').context("the lengths have no end")?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 1..];
        let mut words = line.split_whitespace();
        let length = words.next().and_then(|word| word.parse::<usize>().ok());
        let length = length.with_context(|| format!("no length: {line}"))?;
        if words.next() == Some("total") {
            break length;
        }
        lengths.push(length);
    };
    ensure!(
        sum == rest.len() && sum == lengths.iter().sum::<usize>(),
        "{} of {sum} bytes",
        rest.len()
    );
    let part = |length| {
        let (part, others) = rest.split_at(length);
        rest = others;
        String::from_utf8_lossy(part).into_owned()
    };
    Ok(lengths.into_iter().map(part).collect())
}

impl Answers {
    /// How the answers differ, if they do.
    #[must_use]
    pub fn difference(&self, line: &Line) -> Option<String> {
        let normal = |text: &str| line.normal.apply(text);
        let (stock, ours) = (&self.stock, &self.ours);
        let aspects = [
            ("standard output", normal(&stock.stdout), normal(&ours.stdout)),
            (
                "standard error",
                normal(&without_log(&stock.stderr, &["libxl: ", "xc: "])),
                normal(&without_log(&ours.stderr, &["xend: "])),
            ),
            ("exit status", stock.status.clone(), ours.status.clone()),
        ];
        let different: Vec<String> = aspects
            .into_iter()
            .filter(|(_, stock, ours)| stock != ours)
            .map(|(what, stock, ours)| format!("  {what}:\n{}", diff(&stock, &ours)))
            .collect();
        if different.is_empty() {
            return None;
        }
        let said = if ours.stderr.is_empty() {
            String::new()
        } else {
            format!("  (xend says: {})\n", ours.stderr.trim_end().escape_debug())
        };
        Some(format!("$ {}\n{}{said}", line.command, different.concat()))
    }
}

/// The lines of one text that the other does not have in that place, stock's with a minus.
fn diff(stock: &str, ours: &str) -> String {
    let show = |sign: char, line: &str| format!("    {sign}{}\n", line.escape_debug());
    let (old, new): (Vec<&str>, Vec<&str>) =
        (stock.split_inclusive('\n').collect(), ours.split_inclusive('\n').collect());
    let same_start = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (old[same_start..].iter(), new[same_start..].iter());
    let same_end = old_rest.rev().zip(new_rest.rev()).take_while(|(old, new)| old == new).count();
    let middle = |lines: &[&str], sign| -> String {
        lines[same_start..lines.len() - same_end].iter().map(|line| show(sign, line)).collect()
    };
    middle(&old, '-') + &middle(&new, '+')
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::{self, Command};
    use std::{env, fs};

    use super::*;
    use crate::golden::Normal;

    #[test]
    fn a_difference_is_shown_by_its_lines() {
        assert_eq!(diff("a\nb\nc\n", "a\nx\ny\nc\n"), "    -b\\n\n    +x\\n\n    +y\\n\n");
        assert_eq!(diff("", "x"), "    +x\n");
    }

    #[test]
    fn parts_are_taken_apart_by_their_lengths() {
        let parts = |text: &str| parts(text.as_bytes());
        let three = parts(" 3 1-1\n 0 1-2\n 2 1-3\n 5 total\na\nb1\n").expect("three");
        assert_eq!(three, ["a\nb", "", "1\n"]);
        for bad in ["", "3 1-1\n3 total\nab", "3 1-1\n2 total\nab", "x 1-1\n", "1 1-1\na"] {
            assert!(parts(bad).is_err(), "{bad:?}");
        }
    }

    /// The script with two programs of this machine, in the shell that it is run with in a Dom0.
    #[test]
    fn the_script_gives_the_answers_in_their_order() {
        let folder = env::temp_dir().join(format!("golden-{}", process::id()));
        let folders = ["first", "second"].map(|name| folder.join(name));
        for (folder, word) in folders.iter().zip(["one", "two"]) {
            fs::create_dir_all(folder).unwrap();
            let program = format!("#!/bin/sh\necho {word} \"$1\"; echo $# >&2; exit ${{2:-0}}\n");
            fs::write(folder.join("xl"), program).unwrap();
            fs::set_permissions(folder.join("xl"), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let line = |command| Line { command, normal: Normal::Exact };
        let mut lines =
            vec![line("xl 'a  b'; v=$(xl c); echo \"$v\""), line("xl x 3"), line("true")];
        // More than ten, which a careless order would mix up.
        lines.extend([line("xl z"); 9]);
        let [first, second] = folders.each_ref().map(|folder| folder.to_str().unwrap());
        let kept = folder.join("answers");
        let script = script(&lines, [first, second], kept.to_str().unwrap());
        let output = Command::new("sh").arg("-c").arg(&script).output().unwrap();
        let answers = answers(&output.stdout, lines.len()).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let answer = |stdout: &str, stderr: &str, status: &str| Answer {
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
            status: status.to_owned(),
        };
        assert_eq!(answers[0].stock, answer("one a  b\none c\n", "1\n1\n", "0\n"));
        assert_eq!(answers[0].ours, answer("two a  b\ntwo c\n", "1\n1\n", "0\n"));
        assert_eq!(answers[1].ours, answer("two x\n", "2\n", "3\n"));
        assert_eq!(answers[2].stock, answer("", "", "0\n"));
        assert!(answers[3..].iter().all(|both| both.ours == answer("two z\n", "1\n", "0\n")));
        assert!(answers[0].difference(&lines[0]).is_some());
        assert!(answers[2].difference(&lines[2]).is_none());
        assert!(super::answers(&output.stdout, lines.len() + 1).is_err());
    }
}
