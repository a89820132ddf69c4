//! What a campaign leaves: a page with what was done, under which circumstances, and what came of it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::compare::{markdown, table};
use crate::machine::Circumstances;
use crate::programs::workspace;

/// The page of a campaign in which no page of a guest was wrong: one that was would have ended it.
pub(super) struct Sheet<'a> {
    /// Of the file, after the date.
    pub(super) name: &'a str,
    pub(super) title: String,
    /// What was done, and how it was measured.
    pub(super) what: String,
    pub(super) circumstances: &'a Circumstances,
    /// In lines that begin with `- `.
    pub(super) findings: String,
    /// The figures, with a heading.
    pub(super) rows: Vec<Vec<String>>,
}

impl Sheet<'_> {
    /// Shows the findings and keeps the page in docs/results.
    pub(super) fn keep(&self) -> Result<()> {
        print!("\n{}{}", table(&self.rows), self.findings);
        println!("\nkept in {}", keep(self.name, self.circumstances, &self.text())?.display());
        Ok(())
    }

    fn text(&self) -> String {
        format!(
            "# {}\n\n{}\n\n## Circumstances\n{}\n## Result\n{}- wrong pages: 0\n\n{}",
            self.title,
            self.what,
            self.circumstances.markdown(),
            self.findings,
            markdown(&self.rows),
        )
    }
}

/// Writes a page of any kind as docs/results/DATE-NAME.md and says where that is.
pub(super) fn keep(name: &str, circumstances: &Circumstances, text: &str) -> Result<PathBuf> {
    let folder = workspace().join("docs/results");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let day = circumstances.date.split('T').next().unwrap_or_default();
    let path = folder.join(format!("{day}-{name}.md"));
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row;

    #[test]
    fn a_sheet_has_its_parts_in_order() {
        let circumstances = Circumstances::of_a_test();
        let sheet = Sheet {
            name: "name",
            title: "Title".to_owned(),
            what: "What was done.".to_owned(),
            circumstances: &circumstances,
            findings: "- found: 1\n".to_owned(),
            rows: vec![row!["", "median"], row!["time, s", 2]],
        };
        let expected = format!(
            "# Title\n\nWhat was done.\n\n## Circumstances\n{}\n## Result\n- found: 1\n- wrong pages: 0\n\n\
             |  | median |\n| --- | --- |\n| time, s | 2 |\n",
            circumstances.markdown()
        );
        assert_eq!(sheet.text(), expected);
    }
}
