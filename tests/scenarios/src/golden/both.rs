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
    host.put_bytes(script(lines).as_bytes(), SCRIPT, 0o755)?;
    let output = host.run_ok(SCRIPT, TIMEOUT)?.stdout;
    let mut parts = parts(&output)?.into_iter();
    let mut answer = || -> Result<Answer> {
        let mut part = || parts.next().context("the script has printed too little");
        Ok(Answer { stdout: part()?, stderr: part()?, status: part()? })
    };
    lines.iter().map(|_| Ok(Answers { stock: answer()?, ours: answer()? })).collect()
}

/// Prints for each line and program three parts, each as its length in bytes, a newline and the
/// bytes.
fn script(lines: &[Line]) -> String {
    let mut script = "#!/bin/sh\n\
        path=$PATH\n\
        part() { wc -c <\"$1\"; cat \"$1\"; }\n\
        both() {\n\
        \x20 for bin in STOCK OURS; do\n\
        \x20   PATH=$bin:$path sh -c \"$1\" >/tmp/golden-out 2>/tmp/golden-err </dev/null\n\
        \x20   echo $? >/tmp/golden-status\n\
        \x20   for one in out err status; do part /tmp/golden-$one; done\n\
        \x20 done\n\
        }\n"
    .replace("STOCK", STOCK)
    .replace("OURS", XEND_AS_XL);
    for line in lines {
        let quoted = line.command.replace('\'', "'\\''");
        script.push_str(&format!("both '{quoted}'\n"));
    }
    script
}

fn parts(mut output: &[u8]) -> Result<Vec<String>> {
    let mut parts = Vec::new();
    while let Some(end) = output.iter().position(|&byte| byte == b'\n') {
        let length = String::from_utf8_lossy(&output[..end]);
        let length: usize = length.trim().parse().context("a part has no length")?;
        let rest = &output[end + 1..];
        ensure!(length <= rest.len(), "a part is cut off");
        parts.push(String::from_utf8_lossy(&rest[..length]).into_owned());
        output = &rest[length..];
    }
    Ok(parts)
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
    use super::*;

    #[test]
    fn a_difference_is_shown_by_its_lines() {
        assert_eq!(diff("a\nb\nc\n", "a\nx\ny\nc\n"), "    -b\\n\n    +x\\n\n    +y\\n\n");
        assert_eq!(diff("", "x"), "    +x\n");
    }

    #[test]
    fn parts_are_taken_apart_by_their_lengths() {
        assert_eq!(parts(b"3\na\nb0\n2\n1\n").expect("three"), ["a\nb", "", "1\n"]);
        assert!(parts(b"9\nab").is_err());
    }
}
