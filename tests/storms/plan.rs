//! What happens in a run: a pure function of its seed.

use std::fmt;

use lifeboat::error::Kind;
use lifeboat::store::{Fault, Method};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// How many histories runs begin with; in those that [`is_of_one_host`] says, one host alone may write.
pub const TEMPLATES: usize = 4;

pub fn is_of_one_host(template: usize) -> bool {
    matches!(template, 1 | 2)
}

/// A run.
#[derive(Debug, Clone)]
pub struct Storm {
    /// Which history it begins with.
    pub template: usize,
    /// Whether the policy locks what it stores.
    pub locks: bool,
    /// Whether the store was found to have conditional puts, so that hosts take leases.
    pub leases: bool,
    /// Whether the store lies: then what it loses must be noticed, for it cannot be kept.
    pub lies: bool,
    pub steps: Vec<Step>,
}

/// One step of a run.
#[derive(Debug, Clone)]
pub enum Step {
    /// Some verb, in this process.
    Act(Act),
    /// Two at the same time.
    Race(Act, Act),
    /// The real binary, killed after so many thousandths of the time it usually takes, or left to end.
    Binary { verb: Verb, killed_after: Option<u64> },
    /// Days pass, on the host's clock and on the store's.
    Days { host: i64, store: i64 },
    /// A host loses some of its state.
    Lose { host: usize, what: Loss },
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A backup on one of two hosts that both may write.
    Backup(usize),
    /// A prune on a third.
    Prune,
    /// A check, which must change nothing.
    Check,
}

/// A verb and what hits it.
#[derive(Debug, Clone)]
pub struct Act {
    pub verb: Verb,
    pub faults: Vec<Strike>,
    /// It dies at this call of the store, which is made nevertheless or not.
    pub dies: Option<(u64, bool)>,
}

/// A fault of the store.
#[derive(Debug, Clone, Copy)]
pub struct Strike {
    pub method: Method,
    pub call: u64,
    pub fault: Fault,
    /// Whether it stays.
    pub lasts: bool,
}

/// What a host loses.
#[derive(Debug, Clone, Copy)]
pub enum Loss {
    Cache,
    /// A bit of the cache turns; where, in thousandths of its length.
    CacheBit(u64),
    /// The cache's end is gone.
    CacheEnd(u64),
    /// What it has seen of receipts.
    Seen,
    /// All it knows of the tenant.
    Everything,
    /// It is put back to how it was when the run began, as a machine restored from an image is.
    Rewound,
}

impl Storm {
    /// Plans the run of a seed.
    pub fn of(seed: u64) -> Storm {
        let mut dice = Dice { random: StdRng::seed_from_u64(seed), lies: false, rivals: false, hosts: 2 };
        dice.lies = dice.one_in(8);
        let binary = dice.one_in(3);
        let (template, locks) = (dice.random.random_range(0..TEMPLATES), dice.one_in(6));
        dice.rivals = dice.one_in(5);
        let leases = dice.one_in(3);
        dice.hosts = if is_of_one_host(template) { 1 } else { 2 };
        let mut steps = Vec::new();
        for _ in 0..dice.random.random_range(2..7) {
            if dice.one_in(4) {
                steps.push(dice.mishap());
            }
            steps.push(dice.step());
        }
        if dice.rivals && dice.hosts == 2 {
            let backup = |verb| Act { verb, faults: Vec::new(), dies: None };
            steps.push(Step::Race(backup(Verb::Backup(0)), backup(Verb::Backup(1))));
        }
        if binary {
            // Together, since the binary's clock is the real one.
            for _ in 0..dice.random.random_range(1..4) {
                steps.push(dice.binary());
            }
            for _ in 0..dice.random.random_range(0..3) {
                steps.push(dice.step());
            }
        }
        Storm { template, locks, leases, lies: dice.lies, steps }
    }

    /// Tells whether two hosts may have written without knowing of each other.
    pub fn may_fork(&self) -> bool {
        self.steps.iter().any(|s| {
            matches!(s, Step::Race(Act { verb: Verb::Backup(a), .. }, Act { verb: Verb::Backup(b), .. }) if a != b)
        })
    }
}

struct Dice {
    random: StdRng,
    lies: bool,
    rivals: bool,
    /// How many hosts may write.
    hosts: usize,
}

impl Dice {
    fn one_in(&mut self, n: u32) -> bool {
        self.random.random_ratio(1, n)
    }

    fn step(&mut self) -> Step {
        let first = self.act();
        if !self.one_in(4) {
            return Step::Act(first);
        }
        let mut second = self.act();
        if let (Verb::Backup(a), Verb::Backup(b), false) = (first.verb, &mut second.verb, self.rivals) {
            // Of one host's two one is refused.
            *b = a;
        }
        Step::Race(first, second)
    }

    fn act(&mut self) -> Act {
        let verb = match self.random.random_range(0..20) {
            0..9 => Verb::Backup(0),
            9..13 => Verb::Backup(self.hosts - 1),
            13..19 => Verb::Prune,
            _ => Verb::Check,
        };
        let faults = match self.random.random_range(0..10) {
            0..4 => 0,
            4..8 => 1,
            _ => self.random.random_range(2..5),
        };
        let faults = (0..faults).map(|_| self.strike(verb)).collect();
        let dies = self.one_in(4).then(|| (self.random.random_range(1..60), self.random.random()));
        Act { verb, faults, dies }
    }

    fn strike(&mut self, verb: Verb) -> Strike {
        use Method::{Delete, Get, Head, List, Lock, Put, Swap, Tag, Versions};
        let methods: &[(Method, u64)] = match verb {
            Verb::Backup(_) => &[
                (Put, 6),
                (Put, 6),
                (Get, 12),
                (List, 2),
                (Versions, 6),
                (Head, 3),
                (Lock, 4),
                (Swap, 2),
                (Tag, 1),
            ],
            Verb::Prune => &[(Put, 2), (Get, 60), (Versions, 6), (Delete, 12), (Delete, 12)],
            Verb::Check => &[(Get, 60), (Versions, 6)],
        };
        let (method, most) = *methods.choose(&mut self.random).unwrap();
        let call = self.random.random_range(1..=most);
        let fault = if self.lies { self.lie(method) } else { self.fault(method) };
        let lasts = matches!(fault, Fault::Before(_)) && self.one_in(3);
        Strike { method, call, fault, lasts }
    }

    /// What a store may do that keeps what it said it has stored.
    fn fault(&mut self, method: Method) -> Fault {
        let kind = |dice: &mut StdRng| *[Kind::Store, Kind::Timeout, Kind::Denied].choose(dice).unwrap();
        match (self.random.random_range(0..7), method) {
            (0, Method::Put) => Fault::Before(Kind::Full),
            (0 | 1, Method::Get) => Fault::Cut(self.random.random_range(0..2000)),
            (2, Method::Get) => Fault::Short(self.random.random_range(0..2000)),
            (3, Method::Get) => Fault::Flip(self.random.random_range(0..100_000)),
            (4, _) => Fault::Hang(std::time::Duration::from_millis(1)),
            (5, _) => Fault::Twice,
            (1 | 6, _) => Fault::After(kind(&mut self.random)),
            _ => Fault::Before(kind(&mut self.random)),
        }
    }

    /// The same, and what none must do.
    fn lie(&mut self, method: Method) -> Fault {
        match self.random.random_range(0..5) {
            0 | 1 => Fault::Lie,
            2 => Fault::Short(self.random.random_range(0..2000)),
            3 => Fault::Flip(self.random.random_range(0..100_000)),
            _ => self.fault(method),
        }
    }

    fn mishap(&mut self) -> Step {
        let days = |dice: &mut StdRng| match dice.random_range(0..4) {
            0 => dice.random_range(-40..0),
            1 => 400,
            _ => dice.random_range(1..20),
        };
        match self.random.random_range(0..10) {
            0 => Step::Days { host: days(&mut self.random), store: 0 },
            1 => Step::Days { host: 0, store: days(&mut self.random) },
            2..6 => {
                let both = self.random.random_range(3..20);
                Step::Days { host: both, store: both }
            }
            _ => Step::Lose { host: self.random.random_range(0..self.hosts), what: self.loss() },
        }
    }

    fn loss(&mut self) -> Loss {
        match self.random.random_range(0..6) {
            0 => Loss::Cache,
            1 => Loss::CacheBit(self.random.random_range(0..1000)),
            2 => Loss::CacheEnd(self.random.random_range(0..1000)),
            3 => Loss::Seen,
            4 => Loss::Everything,
            _ => Loss::Rewound,
        }
    }

    fn binary(&mut self) -> Step {
        let verb = if self.one_in(4) { Verb::Prune } else { Verb::Backup(0) };
        let killed_after = (!self.one_in(6)).then(|| self.random.random_range(150..1000));
        Step::Binary { verb, killed_after }
    }
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Storm { template, locks, leases, lies, .. } = self;
        writeln!(f, "  history {template}, locks {locks}, leases {leases}, lies {lies}")?;
        self.steps.iter().enumerate().try_for_each(|(n, step)| writeln!(f, "  {:2}. {step:?}", n + 1))
    }
}
