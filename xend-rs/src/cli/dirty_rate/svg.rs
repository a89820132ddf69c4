//! The curve as a picture.

use std::fmt::Write;

use super::{Account, words};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 56.0;
const TICKS: u32 = 4;

/// An SVG of its own: pages written upwards, length of the window to the right.
pub(super) fn draw(account: &Account<'_>) -> String {
    let points = account.sight.probe.curve.points();
    let (span_s, most) =
        points.last().map_or((1.0, 1.0), |last| (last.window.as_secs_f64(), last.pages.max(1.0)));
    let x = |s: f64| LEFT + (WIDTH - LEFT - RIGHT) * s / span_s;
    let y = |pages: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * pages / most;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"26\" font-size=\"16\">Pages that {} writes, by length of window\
         </text>\n",
        escaped(account.name)
    );
    for tick in 0..=TICKS {
        let part = f64::from(tick) / f64::from(TICKS);
        let (across, up) = (x(span_s * part), y(most * part));
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{up:.1}\" y2=\"{up:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.0}</text>\n\
             <text x=\"{across:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            WIDTH - RIGHT,
            LEFT - 8.0,
            up + 4.0,
            most * part,
            HEIGHT - BOTTOM + 20.0,
            words::time(std::time::Duration::from_secs_f64(span_s * part)),
        );
    }
    let mut line = format!("{:.1},{:.1}", x(0.0), y(0.0));
    for point in points {
        let (x, y) = (x(point.window.as_secs_f64()), y(point.pages));
        let _ = write!(line, " {x:.1},{y:.1}");
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#0a58ca\"/>");
    }
    let _ = write!(
        svg,
        "<polyline points=\"{line}\" fill=\"none\" stroke=\"#0a58ca\" stroke-width=\"2\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">length of window</text>\n</svg>\n",
        WIDTH - RIGHT,
        HEIGHT - 12.0,
    );
    svg
}

/// Text that may stand between tags. Characters that no XML document may have are left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\u{fffe}' | '\u{ffff}' => {}
            control if control.is_control() => {}
            character => escaped.push(character),
        }
    }
    escaped
}
