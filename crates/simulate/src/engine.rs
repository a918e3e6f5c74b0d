//! `Engine`: virtual time, and what happens next in it.
//!
//! **Problem.** A model of a few hundred backends makes millions of things happen per simulated minute, and two runs with
//! one seed must be the same run, or no failure could ever be looked at twice.
//!
//! **Model.** A binary heap of `(time, sequence number, payload)`: the sequence number makes the order total, so that what
//! is due at the same nanosecond happens in the order in which it was planned. Delays that never vary (a time-out, the
//! network) go into a queue per delay instead: they fall due in the order in which they were planned, so a queue is already
//! sorted, and the heap stays small. Nothing is ever unplanned; a payload carries a generation, and whoever is told of
//! something outdated ignores it.
//!
//! **Trace.** Every event that falls due is mixed into one number. Two runs with the same number saw the same events at
//! the same times in the same order.
//!
//! **Rejected.** Actors with mailboxes, and a trait per component (the ready-made engines): slower by a multiple, and the
//! policies would have to bend to them.

use std::collections::VecDeque;
use std::time::Duration;

use seaworthy_policy::Time;

const KIND_BITS: u32 = 4;
const ID_BITS: u32 = 28;
const GENERATION_BITS: u32 = 24;
const SMALL_BITS: u32 = 8;
const _: () = assert!(KIND_BITS + ID_BITS + GENERATION_BITS + SMALL_BITS == u64::BITS);

/// The most things that ids can tell apart.
pub const IDS_MAX: u32 = 1 << ID_BITS;
/// Generations are counted modulo this.
pub const GENERATIONS: u32 = 1 << GENERATION_BITS;

/// What happens, packed into one word; what the parts mean is the model's affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// Which sort of event; below 16.
    pub kind: u8,
    /// Whom it concerns; below [`IDS_MAX`].
    pub id: u32,
    /// Which of those that had this id in turn; below [`GENERATIONS`].
    pub generation: u32,
    /// A detail.
    pub small: u8,
}

impl Payload {
    fn pack(self) -> u64 {
        debug_assert!(self.kind < 1 << KIND_BITS, "kind {} is too large", self.kind);
        debug_assert!(self.id < IDS_MAX, "id {} is too large", self.id);
        debug_assert!(self.generation < GENERATIONS, "generation {} is too large", self.generation);
        let high = u64::from(self.kind) << ID_BITS | u64::from(self.id);
        (high << GENERATION_BITS | u64::from(self.generation)) << SMALL_BITS | u64::from(self.small)
    }

    fn unpack(word: u64) -> Self {
        let generation = (word >> SMALL_BITS) as u32 % GENERATIONS;
        let high = word >> (SMALL_BITS + GENERATION_BITS);
        Self { kind: (high >> ID_BITS) as u8, id: high as u32 % IDS_MAX, generation, small: word as u8 }
    }
}

/// When, in which order, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    at: u64,
    sequence: u64,
    payload: u64,
}

impl Entry {
    /// No two entries have the same sequence number, so one of two is always before the other.
    fn is_before(&self, other: &Entry) -> bool {
        self.at < other.at || (self.at == other.at && self.sequence < other.sequence)
    }
}

/// Names a constant delay of an [`Engine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay(usize);

#[derive(Debug)]
struct Queue {
    delay: Duration,
    entries: VecDeque<Entry>,
}

/// Virtual time, and what happens next in it. See the module's documentation.
#[derive(Debug, Default)]
pub struct Engine {
    now: Time,
    sequence: u64,
    heap: Vec<Entry>,
    queues: Vec<Queue>,
    happened: u64,
    trace: u64,
}

impl Engine {
    /// An empty engine at the origin of time.
    pub fn new() -> Self {
        Self::default()
    }

    /// The present.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Events so far.
    pub fn happened(&self) -> u64 {
        self.happened
    }

    /// Events that are still to come.
    pub fn pending(&self) -> usize {
        self.heap.len() + self.queues.iter().map(|queue| queue.entries.len()).sum::<usize>()
    }

    /// A number that two runs share if, and (but for one chance in 2^64) only if, they saw the same events.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Declares a delay that many events will have.
    pub fn add_delay(&mut self, delay: Duration) -> Delay {
        self.queues.push(Queue { delay, entries: VecDeque::new() });
        Delay(self.queues.len() - 1)
    }

    /// Plans an event; what lies in the past happens now.
    pub fn schedule(&mut self, at: Time, payload: Payload) {
        let entry = self.entry(at.max(self.now), payload);
        self.heap.push(entry);
        self.sift_up(self.heap.len() - 1);
    }

    /// Plans an event after a declared delay; cheaper than [`Engine::schedule`].
    pub fn schedule_after(&mut self, delay: Delay, payload: Payload) {
        let at = self.now.after(self.queues[delay.0].delay);
        let entry = self.entry(at, payload);
        self.queues[delay.0].entries.push_back(entry);
    }

    /// Goes on to the next event, unless none is due by `until`.
    pub fn next(&mut self, until: Time) -> Option<Payload> {
        let mut entry = self.heap.first().copied();
        let mut from_queue = None;
        for (index, queue) in self.queues.iter().enumerate() {
            let Some(front) = queue.entries.front() else { continue };
            if entry.is_none_or(|first| front.is_before(&first)) {
                (entry, from_queue) = (Some(*front), Some(index));
            }
        }
        let entry = entry?;
        if entry.at > until.as_nanos() {
            return None;
        }
        match from_queue {
            Some(index) => drop(self.queues[index].entries.pop_front()),
            None => self.remove_first(),
        }
        debug_assert!(entry.at >= self.now.as_nanos(), "time never runs backwards");
        self.now = Time::from_nanos(entry.at);
        self.happened += 1;
        self.trace = mix(mix(self.trace ^ entry.at) ^ entry.payload);
        Some(Payload::unpack(entry.payload))
    }

    fn entry(&mut self, at: Time, payload: Payload) -> Entry {
        self.sequence += 1;
        Entry { at: at.as_nanos(), sequence: self.sequence, payload: payload.pack() }
    }

    fn sift_up(&mut self, mut index: usize) {
        let entry = self.heap[index];
        while index > 0 {
            let parent = (index - 1) / 2;
            if self.heap[parent].is_before(&entry) {
                break;
            }
            self.heap[index] = self.heap[parent];
            index = parent;
        }
        self.heap[index] = entry;
    }

    fn remove_first(&mut self) {
        let Some(entry) = self.heap.pop() else { return };
        if self.heap.is_empty() {
            return;
        }
        // What was last belongs near the bottom again: let the hole sink all the way, comparing only children, then rise.
        let mut hole = 0;
        loop {
            let mut child = 2 * hole + 1;
            if child >= self.heap.len() {
                break;
            }
            if child + 1 < self.heap.len() && self.heap[child + 1].is_before(&self.heap[child]) {
                child += 1;
            }
            self.heap[hole] = self.heap[child];
            hole = child;
        }
        self.heap[hole] = entry;
        self.sift_up(hole);
    }
}

/// The finalizer of splitmix64: every bit of the input moves about half of the bits of the output.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use seaworthy_policy::Rng;

    use super::*;

    fn payload(id: u32) -> Payload {
        Payload { kind: 1, id, generation: 2, small: 3 }
    }

    #[test]
    fn a_payload_survives_packing() {
        for payload in [
            Payload { kind: 0, id: 0, generation: 0, small: 0 },
            Payload { kind: 15, id: 0, generation: GENERATIONS - 1, small: 0 },
            Payload { kind: 0, id: IDS_MAX - 1, generation: 0, small: 255 },
            Payload { kind: 9, id: 77, generation: 5, small: 1 },
        ] {
            assert_eq!(Payload::unpack(payload.pack()), payload);
        }
    }

    #[test]
    fn what_is_due_at_once_happens_in_the_order_in_which_it_was_planned() {
        let mut engine = Engine::new();
        let delay = engine.add_delay(Duration::from_millis(5));
        engine.schedule(Time::from_millis(5), payload(1));
        engine.schedule_after(delay, payload(2));
        engine.schedule(Time::from_millis(5), payload(3));
        engine.schedule(Time::from_millis(4), payload(0));
        let order: Vec<u32> =
            std::iter::from_fn(|| engine.next(Time::from_millis(9))).map(|it| it.id).collect();
        assert_eq!(order, [0, 1, 2, 3]);
    }

    #[test]
    fn nothing_happens_after_the_end() {
        let mut engine = Engine::new();
        engine.schedule(Time::from_millis(5), payload(1));
        assert_eq!(engine.next(Time::from_nanos(4_999_999)), None);
        assert_eq!((engine.now(), engine.pending()), (Time::ZERO, 1));
        assert_eq!(engine.next(Time::from_millis(5)), Some(payload(1)));
        engine.schedule(Time::from_millis(1), payload(2));
        assert_eq!(engine.next(Time::from_millis(5)), Some(payload(2)), "the past happens now");
        assert_eq!(engine.now(), Time::from_millis(5));
    }

    #[test]
    fn it_agrees_with_a_sorted_map() {
        for seed in 0..50 {
            let mut rng = Rng::seeded(seed);
            let mut engine = Engine::new();
            let delays = [0, 3, 40].map(|delay| (delay, engine.add_delay(Duration::from_nanos(delay))));
            let mut model: BTreeMap<(u64, u32), u32> = BTreeMap::new();
            for id in 0..2_000 {
                let now = engine.now().as_nanos();
                if rng.chance(0.5) {
                    let (nanos, delay) = delays[rng.below(3) as usize];
                    engine.schedule_after(delay, payload(id));
                    model.insert((now + nanos, id), id);
                } else {
                    let at = now + rng.below(50);
                    engine.schedule(Time::from_nanos(at), payload(id));
                    model.insert((at, id), id);
                }
                while rng.chance(0.45) {
                    let expected = model.pop_first();
                    let got = engine.next(Time::from_nanos(u64::MAX)).map(|it| it.id);
                    assert_eq!(got, expected.map(|(_, id)| id), "seed {seed}");
                    let at = expected.map_or(engine.now().as_nanos(), |((at, _), _)| at);
                    assert_eq!(engine.now().as_nanos(), at, "seed {seed}");
                }
                assert_eq!(engine.pending(), model.len(), "seed {seed}");
            }
        }
    }

    #[test]
    fn the_trace_tells_runs_apart() {
        let run = |at: u64, id| {
            let mut engine = Engine::new();
            engine.schedule(Time::from_nanos(at), payload(id));
            engine.next(Time::from_nanos(u64::MAX));
            engine.trace()
        };
        assert_eq!(run(1, 1), run(1, 1));
        assert_ne!(run(1, 1), run(2, 1));
        assert_ne!(run(1, 1), run(1, 2));
    }
}
