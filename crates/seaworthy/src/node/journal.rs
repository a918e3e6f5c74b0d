//! Lets the fault engine write into the keeper's journal, without either of them knowing the other.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use seaworthy_fault::PauseIntent;
use seaworthy_keeper::{Fault, Id, Journal};

/// The keeper's journal behind the fault engine's port.
#[derive(Debug)]
pub(super) struct KeeperJournal {
    journal: Journal,
    names: Mutex<Names>,
}

/// The keeper's names of our open entries; as many as there are paused processes.
#[derive(Debug, Default)]
struct Names {
    newest: u64,
    open: BTreeMap<u64, Id>,
}

impl KeeperJournal {
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        Ok(Self { journal: Journal::open(state_dir)?, names: Mutex::default() })
    }

    fn name(&self, id: u64) -> io::Result<Id> {
        let names = self.names.lock().expect("no holder panics");
        names
            .open
            .get(&id)
            .cloned()
            .ok_or_else(|| io::Error::other(format!("the journal has no open entry {id}")))
    }
}

impl seaworthy_fault::Journal for KeeperJournal {
    fn intend(&self, intent: &PauseIntent) -> io::Result<u64> {
        let fault =
            Fault { start_time: intent.start_time, ..Fault::pause(intent.pid, intent.limit, &intent.label)? };
        let name = self.journal.intend(&fault)?;
        let mut names = self.names.lock().expect("no holder panics");
        names.newest += 1;
        let id = names.newest;
        names.open.insert(id, name);
        Ok(id)
    }

    fn applied(&self, id: u64) -> io::Result<()> {
        self.journal.applied(&self.name(id)?)
    }

    fn reverted(&self, id: u64) -> io::Result<()> {
        self.journal.reverted(&self.name(id)?)?;
        self.names.lock().expect("no holder panics").open.remove(&id);
        Ok(())
    }
}
