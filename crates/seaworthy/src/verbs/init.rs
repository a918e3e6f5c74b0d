//! `init`: a first spec.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use anyhow::{Context, Result, bail};

use crate::cli::InitArgs;
use crate::exit::Exit;

pub(crate) fn run(arguments: &InitArgs) -> Result<Exit> {
    let path = arguments.spec.display();
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&arguments.spec) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{path} exists already, and is left as it is")
        }
        Err(error) => return Err(error).with_context(|| format!("creating {path}")),
    };
    file.write_all(seaworthy_spec::template().as_bytes()).with_context(|| format!("writing {path}"))?;
    eprintln!("wrote {path}; next: seaworthy check {path}");
    Ok(Exit::Good)
}
