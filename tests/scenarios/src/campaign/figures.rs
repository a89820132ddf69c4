//! Figures of many runs, as rows: medians with lowest and highest.

use anyhow::{Context, Result};

use crate::comparison::Column;
use crate::row;
use crate::statistics::Spread;

/// Runs of one way to do it, by its name.
pub(super) type Way<'a, R> = (&'a str, Vec<&'a R>);

/// One row for each figure, two columns for each way.
pub(super) fn rows<R>(columns: &[Column<R>], ways: &[Way<'_, R>]) -> Result<Vec<Vec<String>>> {
    let mut rows = vec![row![""]];
    for (name, _) in ways {
        rows[0].extend(row![name, "low..high"]);
    }
    for &(name, value, digits) in columns {
        let mut cells = row![name];
        for (_, runs) in ways {
            let spread = spread(runs, value)?;
            let number = |value: f64| format!("{value:.digits$}");
            let range = format!("{}..{}", number(spread.low), number(spread.high));
            cells.extend([number(spread.median), range]);
        }
        rows.push(cells);
    }
    Ok(rows)
}

/// Adds to the [`rows`] of two ways a column: the medians of `of` through those of `through`.
pub(super) fn add_ratios<R>(
    rows: &mut [Vec<String>],
    columns: &[Column<R>],
    of: &[&R],
    through: &[&R],
) -> Result<()> {
    rows[0].push("of medians".to_owned());
    for (row, &(_, value, _)) in rows[1..].iter_mut().zip(columns) {
        let ratio = spread(of, value)?.median / spread(through, value)?.median;
        row.push(format!("{ratio:.2}"));
    }
    Ok(())
}

fn spread<R>(runs: &[&R], value: fn(&R) -> f64) -> Result<Spread> {
    Spread::of(runs.iter().map(|run| value(run))).context("no run")
}

#[cfg(test)]
mod tests {
    use super::{Column, add_ratios, rows};

    #[test]
    fn each_way_has_its_columns_and_two_have_a_ratio() {
        let columns: &[Column<f64>] = &[("x", |x| *x, 1)];
        let (a, b) = (vec![&1.0, &3.0], vec![&8.0]);
        let mut told = rows(columns, &[("a", a.clone()), ("b", b.clone())]).unwrap();
        assert_eq!(told[1], ["x", "2.0", "1.0..3.0", "8.0", "8.0..8.0"]);
        add_ratios(&mut told, columns, &a, &b).unwrap();
        assert_eq!(told[0], ["", "a", "low..high", "b", "low..high", "of medians"]);
        assert_eq!(told[1][5], "0.25");
        assert!(rows(columns, &[("none", vec![])]).is_err());
    }
}
