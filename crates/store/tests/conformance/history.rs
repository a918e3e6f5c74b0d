//! What is appended is read back, until the oldest has to go.

use std::time::Duration;

use seaworthy_store::{Entry, EntryId, History, HistoryQuery, Options, verify};

use crate::stage::{Stage, each_seed, pick};

#[test]
fn history_is_what_was_appended() {
    each_seed(|rng| {
        let history_max = 500;
        let mut stage = Stage::new(Options { history_max, ..Options::default() });
        let mut model: Vec<Entry> = Vec::new();
        for number in 1..=100 {
            let (kind, body) = (pick(rng, &["fault", "deploy"]).to_owned(), vec![0; rng.below(30) as usize]);
            let id = stage.store().append(&kind, body.clone()).wait();
            assert_eq!(id, Ok(EntryId(number)));
            model.push(Entry { id: EntryId(number), at: stage.now(), kind, body });
            while model.iter().map(|entry| entry.body.len() as u64).sum::<u64>() > history_max {
                model.remove(0);
            }
            match rng.below(20) {
                0 => stage.reopen(),
                1..5 => stage.pass(Duration::from_secs(1)),
                _ => {}
            }
            let some = rng.below(2) == 0;
            let query = HistoryQuery {
                after: some.then(|| EntryId(rng.below(number))),
                kind: (!some).then(|| "fault".to_owned()),
                from: (rng.below(3) == 0).then(|| model[model.len() / 2].at),
                until: (rng.below(3) == 0).then(|| stage.now()),
            };
            let fits = |entry: &&Entry| {
                query.after.is_none_or(|after| entry.id > after)
                    && query.kind.as_ref().is_none_or(|kind| *kind == entry.kind)
                    && query.from.is_none_or(|from| entry.at >= from)
                    && query.until.is_none_or(|until| entry.at < until)
            };
            let expected = model.iter().filter(fits).take(7).cloned().collect();
            assert_eq!(stage.store().entries(query.clone(), 7).wait(), Ok(expected), "{query:?}");
        }
        stage.close();
        assert!(verify(stage.folder.path()).unwrap().is_whole());
    });
}
