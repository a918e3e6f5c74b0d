//! `schema`: the JSON Schema that editors use.

use anyhow::Result;

use crate::exit::Exit;

pub(crate) fn run() -> Result<Exit> {
    println!("{:#}", seaworthy_spec::schema());
    Ok(Exit::Good)
}
