use proptest::prelude::*;

use super::*;

const FETCHES: usize = 3;

/// Streams that read their runs one after the other, against a store and a disk that do as they are told.
struct World {
    shelf: Shelf,
    sizes: Vec<u64>,
    limit_bytes: u64,
    fetching: Vec<u32>,
    here: HashSet<u32>,
    fetched: Vec<u32>,
    streams: Vec<Stream>,
}

struct Stream {
    need: NeedId,
    runs: Vec<u32>,
    at: usize,
    waits: bool,
}

impl World {
    fn new(sizes: Vec<u64>, limit_bytes: u64) -> Self {
        World {
            shelf: Shelf::new(sizes.clone(), limit_bytes, FETCHES),
            sizes,
            limit_bytes,
            fetching: vec![],
            here: HashSet::new(),
            fetched: vec![],
            streams: vec![],
        }
    }

    fn begin(&mut self, name: &str, runs: &[u32]) {
        let need = self.shelf.begin(name.into(), runs.to_vec(), true);
        self.streams.push(Stream { need, runs: runs.to_vec(), at: 0, waits: false });
    }

    fn settle(&mut self) {
        for step in self.shelf.next_steps() {
            match step {
                Step::Fetch(pack) => {
                    self.fetching.push(pack);
                    self.fetched.push(pack);
                }
                Step::Remove(pack) => assert!(self.here.remove(&pack), "{pack} was not here"),
            }
        }
        let bytes: u64 = self.here.iter().chain(&self.fetching).map(|p| self.sizes[*p as usize]).sum();
        assert!(bytes <= self.limit_bytes, "{bytes} bytes in a folder of {}", self.limit_bytes);
        assert!(self.fetching.len() <= FETCHES);
    }

    fn arrive(&mut self, which: usize) {
        let pack = self.fetching.remove(which % self.fetching.len());
        self.here.insert(pack);
        self.shelf.fetched(pack);
        self.settle();
    }

    /// Lets one stream do what it can; true if it did something.
    fn step(&mut self, which: usize) -> bool {
        let n = which % self.streams.len();
        let stream = &mut self.streams[n];
        let Some(pack) = stream.runs.get(stream.at).copied() else { return false };
        if !stream.waits {
            stream.waits = true;
            self.shelf.want(pack);
            self.settle();
        }
        if !self.shelf.pin(pack) {
            return false;
        }
        assert!(self.here.contains(&pack));
        self.shelf.unwant(pack);
        self.settle();
        self.shelf.unpin(pack);
        let stream = &mut self.streams[n];
        (stream.waits, stream.at) = (false, stream.at + 1);
        if stream.at == stream.runs.len() {
            self.shelf.retire(stream.need);
        } else {
            self.shelf.advance(stream.need, stream.at);
        }
        self.settle();
        true
    }

    /// Runs to the end; dice decide who goes next. Fails where nobody can.
    fn run(&mut self, dice: &[usize]) {
        let mut dice = dice.iter().cycle();
        let mut roll = || *dice.next().unwrap();
        self.settle();
        while self.streams.iter().any(|s| s.at < s.runs.len()) {
            let first = roll();
            let moved = (0..self.streams.len()).any(|n| self.step(first + n));
            if !self.fetching.is_empty() && (!moved || roll() % 2 == 0) {
                self.arrive(roll());
            } else {
                assert!(moved, "everybody waits, nothing is on its way");
            }
        }
        while !self.fetching.is_empty() {
            self.arrive(0);
        }
    }
}

#[test]
fn packs_are_fetched_ahead_in_the_order_of_reading_as_many_as_may_be() {
    let mut world = World::new(vec![10; 6], 1000);
    world.begin("a", &[4, 2, 4, 5, 0]);
    world.settle();
    assert_eq!(world.fetching, [4, 2, 5]);
    world.arrive(0);
    assert_eq!(world.fetching, [2, 5, 0]);
}

#[test]
fn a_pack_goes_when_nothing_that_was_announced_needs_it_any_more() {
    let mut world = World::new(vec![10; 3], 1000);
    world.shelf.announce("a".into(), vec![0, 1]);
    world.shelf.announce("b".into(), vec![0]);
    world.begin("a", &[0, 1]);
    world.settle();
    world.arrive(0);
    world.arrive(0);
    assert!(world.step(0) && world.step(0));
    assert_eq!(world.here, HashSet::from([0]));
    world.begin("b", &[0]);
    assert!(world.step(1));
    assert!(world.here.is_empty());
    assert_eq!(world.fetched, [0, 1]);
}

#[test]
fn a_pack_that_comes_between_a_streams_end_and_its_last_word_goes_too() {
    let mut world = World::new(vec![10], 1000);
    world.begin("a", &[0]);
    world.shelf.want(0);
    world.settle();
    world.shelf.retire(world.streams[0].need);
    world.arrive(0);
    assert_eq!(world.here, HashSet::from([0]), "somebody may still take it");
    world.shelf.unwant(0);
    world.settle();
    assert!(world.here.is_empty());
}

#[test]
fn what_is_needed_last_makes_room() {
    let mut world = World::new(vec![10; 4], 30);
    world.begin("a", &[0, 1, 2, 3, 1, 0]);
    world.settle();
    assert_eq!(world.fetching, [0, 1, 2]);
    world.run(&[0]);
    // 0 was needed last when 3 came, so it came twice; 1 and 2 did not.
    assert_eq!(world.fetched, [0, 1, 2, 3, 0]);
    assert!(world.here.is_empty());
}

#[test]
fn a_pack_read_in_parts_stays_while_there_is_room() {
    let mut world = World::new(vec![10, 10, 10], 20);
    for _ in 0..2 {
        let need = world.shelf.begin("a".into(), vec![0], false);
        world.streams.push(Stream { need, runs: vec![0], at: 0, waits: false });
        world.run(&[0]);
    }
    assert_eq!(world.fetched, [0]);
    world.begin("b", &[1, 2]);
    world.run(&[0]);
    assert_eq!(world.fetched, [0, 1, 2]);
    assert!(world.here.is_empty());
}

#[test]
fn a_disk_that_is_fuller_than_allowed_is_shared_by_taking_turns() {
    let mut world = World::new(vec![10; 3], 1000);
    world.begin("a", &[0, 1, 2]);
    world.settle();
    assert_eq!(world.fetching, [0, 1, 2]);
    world.arrive(0);
    for pack in [1, 2] {
        world.fetching.retain(|p| *p != pack);
        assert!(world.shelf.not_fetched(pack, true));
    }
    // From here on there is room for one.
    world.limit_bytes = 10;
    world.run(&[0]);
    assert_eq!(world.fetched, [0, 1, 2, 1, 2]);
}

#[test]
fn a_disk_without_room_for_a_single_pack_is_an_error_and_not_a_loop() {
    let mut world = World::new(vec![10], 1000);
    world.begin("a", &[0]);
    world.settle();
    assert!(!world.shelf.not_fetched(0, true));
    assert_eq!(world.shelf.next_steps(), []);
}

#[test]
fn what_failed_is_not_fetched_ahead_again_but_on_demand() {
    let mut world = World::new(vec![10; 2], 1000);
    world.begin("a", &[0, 1]);
    world.settle();
    world.fetching.clear();
    assert!(!world.shelf.not_fetched(0, false));
    assert_eq!(world.shelf.next_steps(), []);
    world.shelf.want(0);
    assert_eq!(world.shelf.next_steps(), [Step::Fetch(0)]);
}

fn streams() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(0_u32..12, 0..40), 1..6)
}

proptest! {
    #[test]
    fn every_stream_ends_and_the_limit_is_kept(
        sizes in prop::collection::vec(1_u64..=50, 12),
        limit in 100_u64..300,
        streams in streams(),
        announced in any::<bool>(),
        dice in prop::collection::vec(0_usize..1000, 1..50),
    ) {
        let mut world = World::new(sizes, limit);
        if announced {
            for (n, runs) in streams.iter().enumerate() {
                world.shelf.announce(n.to_string(), runs.clone());
            }
        }
        for (n, runs) in streams.iter().enumerate() {
            world.begin(&n.to_string(), runs);
        }
        world.run(&dice);
        for n in 0..world.streams.len() {
            let need = world.streams[n].need;
            world.shelf.retire(need);
        }
        world.settle();
        prop_assert!(world.here.is_empty());
        if limit >= world.sizes.iter().sum() {
            let distinct: HashSet<u32> = world.fetched.iter().copied().collect();
            prop_assert_eq!(distinct.len(), world.fetched.len());
        }
    }

    #[test]
    fn with_room_for_all_each_pack_is_fetched_once(
        streams in streams(),
        dice in prop::collection::vec(0_usize..1000, 1..50),
    ) {
        let mut world = World::new(vec![10; 12], 120);
        for (n, runs) in streams.iter().enumerate() {
            world.shelf.announce(n.to_string(), runs.clone());
        }
        for (n, runs) in streams.iter().enumerate() {
            world.begin(&n.to_string(), runs);
        }
        world.run(&dice);
        let distinct: HashSet<u32> = streams.iter().flatten().copied().collect();
        prop_assert_eq!(world.fetched.len(), distinct.len());
    }
}
