//! Turning words of the plan into a command that can be started.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::environment::PREFIX;
use crate::error::SuperviseError;

/// A program that exists, its arguments, where it runs and what it is told. Not `Debug`: it knows the token.
pub(crate) struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    variables: BTreeMap<String, String>,
}

impl Launch {
    /// Finds the program; the error names it and the service.
    pub(crate) fn new(
        service: &str,
        words: &[String],
        folder: &Path,
        variables: BTreeMap<String, String>,
    ) -> Result<Self, SuperviseError> {
        let refuse = |program: &Path, reason: &str| {
            let (service, program) = (service.to_owned(), program.to_owned());
            SuperviseError::Program { service, program, reason: reason.to_owned() }
        };
        let Some((word, arguments)) = words.split_first() else {
            return Err(refuse(Path::new(""), "the command is empty"));
        };
        let path = variables.get("PATH").map(OsString::from).or_else(|| env::var_os("PATH"));
        let program = find(word, folder, &path.unwrap_or_default())
            .map_err(|(program, reason)| refuse(&program, reason))?;
        Ok(Self { program, arguments: arguments.to_vec(), folder: folder.to_owned(), variables })
    }

    /// A command in a process group of its own, without input, its output piped to us.
    pub(crate) fn command(&self, port: Option<u16>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder);
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(PREFIX)) {
            command.env_remove(name);
        }
        command.envs(&self.variables);
        if let Some(port) = port {
            command.env("PORT", port.to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command
    }
}

/// Makes a folder that only we may enter, unless it exists.
pub(crate) fn make_private_folder(path: &Path) -> Result<(), SuperviseError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| SuperviseError::StateFolder { path: path.to_owned(), source })
}

/// The absolute path of a program: relative to the folder if it contains a slash, looked up otherwise.
fn find(word: &str, folder: &Path, path: &OsString) -> Result<PathBuf, (PathBuf, &'static str)> {
    if word.contains('/') {
        let program = folder.join(word);
        return match usable(&program) {
            Ok(()) => Ok(program),
            Err(reason) => Err((program, reason)),
        };
    }
    env::split_paths(path)
        .filter(|place| place.is_absolute())
        .map(|place| place.join(word))
        .find(|program| usable(program).is_ok())
        .ok_or_else(|| (PathBuf::from(word), "not found in PATH"))
}

fn usable(program: &Path) -> Result<(), &'static str> {
    match fs::metadata(program) {
        Err(_) => Err("no such file"),
        Ok(found) if !found.is_file() => Err("not a file"),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => Err("not executable"),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_or_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("bin")).unwrap();
        fs::write(root.join("bin/tool"), "").unwrap();
        fs::set_permissions(root.join("bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(root.join("plain"), "").unwrap();
        fs::set_permissions(root.join("plain"), fs::Permissions::from_mode(0o644)).unwrap();
        let path = OsString::from(format!("relative:{}", root.join("bin").display()));
        let absolute = root.join("bin/tool");
        let cases = [
            ("bin/tool", Ok(absolute.clone())),
            ("./bin/tool", Ok(root.join("./bin/tool"))),
            (absolute.to_str().unwrap(), Ok(absolute.clone())),
            ("tool", Ok(absolute.clone())),
            ("./missing", Err((root.join("./missing"), "no such file"))),
            ("./plain", Err((root.join("./plain"), "not executable"))),
            ("./bin", Err((root.join("./bin"), "not a file"))),
            ("nothing", Err((PathBuf::from("nothing"), "not found in PATH"))),
        ];
        for (word, expected) in cases {
            assert_eq!(find(word, root, &path), expected, "{word}");
        }
    }

    #[test]
    fn state_folders_are_private() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("services/api/a-1");
        make_private_folder(&path).unwrap();
        make_private_folder(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(root.path().join("file"), "").unwrap();
        let error = make_private_folder(&root.path().join("file/below")).unwrap_err();
        assert!(error.to_string().contains("file/below"), "{error}");
    }
}
