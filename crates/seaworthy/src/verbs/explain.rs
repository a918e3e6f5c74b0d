//! `explain`: what a diagnostic code means and what to do about it.

use anyhow::{Result, bail};

use crate::cli::ExplainArgs;
use crate::exit::Exit;

pub(crate) fn run(arguments: &ExplainArgs) -> Result<Exit> {
    let Some(explanation) = seaworthy_spec::explain(&arguments.code) else {
        bail!(
            "there is no code `{}`; codes look like SW104 and stand in front of each finding of `seaworthy check`",
            arguments.code
        );
    };
    println!("{explanation}");
    Ok(Exit::Good)
}
