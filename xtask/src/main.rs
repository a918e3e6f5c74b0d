//! Build, test and bench chores.
fn main() {}
