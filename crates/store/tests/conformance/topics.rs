//! Random lives of topics.

use std::collections::BTreeMap;
use std::time::Duration;

use seaworthy_policy::Rng;
use seaworthy_store::{
    Bound, Event, EventId, NewEvent, Options, Start, StoreError, Subscription, Timestamp, TopicConfig,
    TopicView, Topics, verify,
};

use crate::stage::{Stage, each_seed, pick};

const SECOND: Duration = Duration::from_secs(1);
const STEPS: usize = 250;
const NAMES: [&str; 3] = ["audit", "mail", "search"];
const TOPIC: &str = "orders";

struct Model {
    config: TopicConfig,
    /// With the id of the first.
    first: u64,
    events: Vec<Event>,
    cursors: BTreeMap<&'static str, u64>,
}

impl Model {
    fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn bytes(&self) -> u64 {
        self.events.iter().map(|event| event.body.len() as u64).sum()
    }

    fn slowest(&self) -> Option<(&'static str, u64)> {
        self.cursors.iter().map(|(name, cursor)| (*name, *cursor)).min_by_key(|(_, cursor)| *cursor)
    }

    fn drop_while(&mut self, unwanted: impl Fn(&Self) -> bool) {
        while !self.events.is_empty()
            && self.slowest().is_none_or(|(_, cursor)| self.first <= cursor)
            && unwanted(self)
        {
            self.events.remove(0);
            self.first += 1;
        }
    }

    fn drop_old(&mut self, now: Timestamp) {
        let age = self.config.age;
        self.drop_while(|model| model.events[0].at.after(age) <= now);
    }

    fn place(&self, start: Start) -> u64 {
        match start {
            Start::Now => self.next() - 1,
            Start::Oldest => self.first - 1,
            Start::At(time) => {
                self.events.iter().find(|event| event.at >= time).map_or(self.next(), |event| event.id.0) - 1
            }
        }
    }
}

#[test]
fn topics_do_what_the_naive_model_does() {
    each_seed(|rng| {
        let mut stage = Stage::new(Options::default());
        let config = TopicConfig { age: SECOND * 60, size: 400 };
        let mut model = Model { config, first: 1, events: Vec::new(), cursors: BTreeMap::new() };
        stage.store().configure_topic(TOPIC, config).wait().unwrap();
        for _ in 0..STEPS {
            step(&mut stage, &mut model, rng);
            compare(&stage, &model);
        }
        stage.close();
        let checked = verify(stage.folder.path()).unwrap();
        assert!(checked.is_whole(), "{checked:?}");
    });
}

fn step(stage: &mut Stage, model: &mut Model, rng: &mut Rng) {
    let (name, now) = (pick(rng, &NAMES), stage.now());
    let start = pick(rng, &[Start::Now, Start::Oldest, Start::At(Timestamp(now.0 - 20_000))]);
    let unknown = || Err(StoreError::Unknown { what: "subscriber", name: name.to_owned() });
    match rng.below(100) {
        0..40 => publish(stage, model, rng),
        40..48 => {
            let place = model.place(start);
            let cursor = *model.cursors.entry(name).or_insert(place);
            assert_eq!(stage.store().subscribe(TOPIC, name, start).wait(), Ok(EventId(cursor)));
        }
        48..76 => {
            let up_to = model.first + rng.below(model.events.len() as u64 + 2);
            let last = model.next() - 1;
            let expected = model.cursors.get_mut(name).map(|cursor| {
                *cursor = up_to.min(last).max(*cursor);
                EventId(*cursor)
            });
            let said = stage.store().acknowledge(TOPIC, name, EventId(up_to)).wait();
            assert_eq!(said, expected.map_or_else(unknown, Ok));
        }
        76..80 => {
            let place = model.place(start);
            let expected = model.cursors.get_mut(name).map(|cursor| {
                *cursor = place;
                EventId(place)
            });
            assert_eq!(stage.store().replay(TOPIC, name, start).wait(), expected.map_or_else(unknown, Ok));
        }
        80..83 => {
            let expected = model.cursors.remove(name).map(|_| ());
            let said = stage.store().unsubscribe(TOPIC, name).wait().map(|()| EventId(0));
            assert_eq!(said, expected.map_or_else(unknown, |()| Ok(EventId(0))));
        }
        83..96 => return stage.pass(SECOND * rng.below(15) as u32),
        _ => return stage.reopen(),
    }
    model.drop_old(now);
}

fn publish(stage: &Stage, model: &mut Model, rng: &mut Rng) {
    let (body, now) = (vec![b'x'; rng.below(60) as usize], stage.now());
    let new = NewEvent { topic: TOPIC.to_owned(), headers: Vec::new(), body: body.clone() };
    let said = stage.store().publish(new).wait();
    let size = model.config.size;
    model.drop_while(|model| model.bytes() + body.len() as u64 > size);
    if model.bytes() + body.len() as u64 > size {
        let (held_by, cursor) = model.slowest().unwrap();
        let since = model.events.iter().find(|event| event.id.0 == cursor + 1).unwrap().at;
        let (topic, bytes) = (TOPIC.to_owned(), model.bytes());
        let bound = Bound::Topic { topic, bytes, held_by: held_by.to_owned(), since };
        assert_eq!(said, Err(StoreError::Full(bound)));
        return;
    }
    let id = EventId(model.next());
    assert_eq!(said, Ok(id));
    model.events.push(Event { id, at: now, headers: Vec::new(), body });
}

fn compare(stage: &Stage, model: &Model) {
    let subscriptions = model
        .cursors
        .iter()
        .map(|(name, cursor)| Subscription { name: (*name).to_owned(), acknowledged: EventId(*cursor) });
    let (first, last) = (EventId(model.first), EventId(model.next() - 1));
    let view = TopicView { first, last, bytes: model.bytes(), subscriptions: subscriptions.collect() };
    assert_eq!(stage.store().topic(TOPIC).wait(), Ok(view));
    for (name, cursor) in &model.cursors {
        let unread = model.events.iter().filter(|event| event.id.0 > *cursor).take(5).cloned().collect();
        assert_eq!(stage.store().read(TOPIC, name, None, 5).wait(), Ok(unread));
    }
}
