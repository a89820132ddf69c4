//! The curve in the terminal: pages upwards, time to the right.

use std::env;
use std::io;

use rustix::termios::tcgetwinsize;

use super::words;
use crate::migration::dirty_curve::DirtyCurve;

const ROWS: usize = 10;
/// What a column is made of, by eighths of a row.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Room for the numbers at the left.
const MARGIN: usize = 10;

/// What is drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terminal {
    /// Its columns.
    pub(super) columns: usize,
    /// It can show more than ASCII.
    pub(super) unicode: bool,
}

impl Terminal {
    /// What standard output is: 80 columns if that is no terminal.
    pub(super) fn of_stdout() -> Self {
        let columns = tcgetwinsize(io::stdout()).map_or(80, |size| usize::from(size.ws_col));
        // As the C library chooses: the first of them that says something.
        let mut locales = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(env::var_os);
        let locale = locales.find(|value| !value.is_empty()).unwrap_or_default();
        let unicode = locale.to_string_lossy().to_lowercase().replace('-', "").contains("utf8");
        // A terminal may not know its size.
        Self { columns: if columns == 0 { 80 } else { columns.clamp(40, 160) }, unicode }
    }
}

/// Draws the curve from nothing to its last window.
pub(super) fn draw(curve: &DirtyCurve, terminal: Terminal) -> String {
    let Some(last) = curve.points().last().filter(|last| last.pages > 0.0) else {
        return String::new();
    };
    let columns = terminal.columns - MARGIN - 2;
    let heights: Vec<usize> = (1..=columns)
        .map(|column| {
            let time = last.window.mul_f64(column as f64 / columns as f64);
            (curve.pages_in(time) / last.pages * (ROWS * 8) as f64).round() as usize
        })
        .collect();
    let mut text = String::new();
    for row in (0..ROWS).rev() {
        let label = match row {
            row if row == ROWS - 1 => format!("{:.0}", last.pages),
            row if row == ROWS / 2 - 1 => format!("{:.0}", last.pages / 2.0),
            _ => String::new(),
        };
        text += &format!("{label:>MARGIN$} |");
        let cells = heights.iter().map(|height| {
            let eighths = height.saturating_sub(row * 8).min(8);
            match terminal.unicode {
                true => EIGHTHS[eighths],
                false if eighths >= 4 => '#',
                false => ' ',
            }
        });
        text += cells.collect::<String>().trim_end();
        text += "\n";
    }
    text += &format!("{:>MARGIN$} +{}\n", 0, "-".repeat(columns));
    let (middle, end) = (words::time(last.window / 2), words::time(last.window));
    let half = columns / 2;
    text += &format!("{:>at$}", middle, at = MARGIN + 2 + half);
    text += &format!("{:>at$}\n", end, at = columns - half);
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::migration::dirty_curve::Point;

    #[test]
    fn it_fills_the_width_and_ends_at_the_top() {
        let point = |ms, pages| Point { window: Duration::from_millis(ms), pages };
        let curve = DirtyCurve::new(vec![point(1000, 80.0), point(2000, 100.0)]);
        for unicode in [true, false] {
            let text = draw(&curve, Terminal { columns: 60, unicode });
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), ROWS + 2);
            assert!(lines.iter().all(|line| line.chars().count() <= 60), "{text}");
            assert_eq!(lines[0].chars().count(), 60, "{text}");
            let full = if unicode { '█' } else { '#' };
            assert!(lines[0].starts_with("       100 |") && lines[0].ends_with(full), "{text}");
            assert!(lines[ROWS - 1].chars().filter(|&c| c == full).count() > 45, "{text}");
            assert!(text.is_ascii() || unicode);
            assert!(lines[ROWS + 1].trim().starts_with("1.0 s"), "{text}");
            assert!(lines[ROWS + 1].ends_with("2.0 s"), "{text}");
        }
        assert_eq!(draw(&DirtyCurve::default(), Terminal { columns: 60, unicode: true }), "");
    }
}
