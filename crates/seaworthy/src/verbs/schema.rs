//! `schema`: the JSON Schema that editors use.

use crate::exit::Exit;

pub(crate) fn run() -> Exit {
    println!("{:#}", seaworthy_spec::schema());
    Exit::Good
}
