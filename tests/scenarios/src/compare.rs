//! Tables: rows with a heading each, columns beside each other.

/// Lays out rows of cells: the first column to the left, the others to the right.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The same rows as a table in markdown; the first row is the heading.
#[must_use]
pub fn markdown(rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let Some((heading, body)) = rows.split_first() else { return String::new() };
    let rule: Vec<String> = heading.iter().map(|_| "---".to_owned()).collect();
    let mut text = line(heading) + &line(&rule);
    text.extend(body.iter().map(|row| line(row)));
    text
}

/// Makes a row of anything that can be shown.
#[macro_export]
macro_rules! row {
    ($($cell:expr),+ $(,)?) => { vec![$($cell.to_string()),+] };
}

/// Bytes in MiB, to a tenth.
#[must_use]
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

#[cfg(test)]
mod tests {
    use super::{markdown, table};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [row!["", "xend", "stock"], row!["rounds", 5, 12345]];
        assert_eq!(table(&rows), "        xend  stock\nrounds     5  12345\n");
        assert_eq!(
            markdown(&rows),
            "|  | xend | stock |\n| --- | --- | --- |\n| rounds | 5 | 12345 |\n"
        );
    }
}
