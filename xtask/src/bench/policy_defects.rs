//! What each one gets wrong, as a table.

use std::fmt::{self, Write as _};

use serde_json::Value;

use crate::bench::policy::heading;

pub(crate) fn text(report: &Value) -> Result<String, fmt::Error> {
    let mut out = heading(report);
    writeln!(
        out,
        "each tried on each: + right, ! wrong, and what was seen; who does not appear has no such thing"
    )?;
    let (mut right, mut wrong) = (0, 0);
    for defect in report["defects"].as_array().into_iter().flatten() {
        let word = |name: &str| defect[name].as_str().unwrap_or_default().to_owned();
        writeln!(out, "\n{}\n  {}", word("name"), word("question"))?;
        for seen in defect["seen"].as_array().into_iter().flatten() {
            let is_right = seen["right"] == true;
            let mark = if is_right { '+' } else { '!' };
            if seen["who"] == "seaworthy" {
                if is_right { right += 1 } else { wrong += 1 }
            }
            let word = |name: &str| seen[name].as_str().unwrap_or_default();
            writeln!(out, "  {mark} {:<18} {}", word("who"), word("what"))?;
        }
    }
    writeln!(out, "\nseaworthy: {right} right, {wrong} wrong")?;
    Ok(out)
}
