//! `plan`: every effective value and who set it.

use anyhow::Result;

use crate::cli::{Format, PlanArgs};
use crate::exit::Exit;
use crate::spec_file::{self, Selection};

pub(crate) fn run(arguments: &PlanArgs) -> Result<Exit> {
    let plan = spec_file::plan(&arguments.spec, &Selection::default())?;
    match arguments.format {
        Format::Human => print!("{}", seaworthy_spec::plan_text(&plan)),
        Format::Json => println!("{:#}", seaworthy_spec::plan_json(&plan)),
    }
    Ok(Exit::Good)
}
